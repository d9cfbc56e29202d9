"""Reads the points of a Qdrant collection, each of them a row that keeps its id, document, chunk and payload."""
