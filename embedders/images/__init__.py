"""Images as models take them: decoded, transformed, in batches."""
