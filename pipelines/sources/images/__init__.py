"""Images that rows hold or refer to."""
