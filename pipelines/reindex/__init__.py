"""Replacing the collection behind an alias: which one a job fills, and how the alias moves there and back."""
