"""The part of the dock about the slide."""
