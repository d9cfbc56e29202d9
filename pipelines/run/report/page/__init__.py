"""A run's report as one HTML page, and two reports side by side."""
