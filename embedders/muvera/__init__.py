"""MUVERA: multivectors as single vectors, fixed dimensional encodings (arXiv 2405.19504)."""
