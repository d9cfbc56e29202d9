"""What Ray Data's users take by itself: datasinks for ``Dataset.write_datasink``, and a source of a collection."""
