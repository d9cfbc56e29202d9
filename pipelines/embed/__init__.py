"""Rows on their way to vectors: cut into chunks, and embedded."""
