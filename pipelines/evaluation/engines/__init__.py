"""What answers an evaluation's queries."""
