"""What an evaluation tells: table, chart, results, comparison."""
