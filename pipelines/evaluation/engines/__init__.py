"""The collection that is evaluated, and what answers its queries; the rest of evaluation knows nothing of Qdrant."""
