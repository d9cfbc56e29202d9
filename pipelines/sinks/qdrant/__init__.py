"""A Qdrant collection as a sink, on a server or in a folder."""
