"""The classes that fastembed's users know."""
