"""What a run tells of itself: its figures, the file that they are in, and the summary on the terminal."""
