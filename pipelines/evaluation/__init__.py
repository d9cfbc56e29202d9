"""Measures how well, how fast and at what size each way to search finds what a BEIR data set judges relevant."""
