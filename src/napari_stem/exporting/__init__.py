"""Predictions for other programs: figures and files."""
