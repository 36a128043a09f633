"""The dock in napari: panels that only ask, a coordinator that acts, workers that compute."""
