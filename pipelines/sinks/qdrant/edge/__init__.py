"""Qdrant's own engine in a folder, in this process (qdrant-edge-py), behind qdrant-client's methods."""
