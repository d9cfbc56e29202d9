"""Results as a table, a chart, a page and files, and their comparison with earlier ones."""
