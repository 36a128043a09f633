"""Spatial transcriptomics data sets: reading, importing, gene panels, units of expression."""
