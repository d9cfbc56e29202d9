"""Files whose rows bring their vectors: those of a Parquet sink, and exports of collections."""
