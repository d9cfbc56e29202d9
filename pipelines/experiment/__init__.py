"""Compares settings, models for instance, over one sample of documents: quality, size, seconds, and what was cut."""
