"""The part about genes, and the maps of them."""
