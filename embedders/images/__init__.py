"""Images: decoded, preprocessed and batched as models take them."""
