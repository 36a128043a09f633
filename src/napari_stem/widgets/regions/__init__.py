"""The part about regions."""
