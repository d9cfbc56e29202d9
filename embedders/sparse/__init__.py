"""Sparse embedders: one file a model family."""
