"""Packaged data: the sample section, the bundled encoder's weights, the shipped model."""
