"""Training: sections as arrays, the mean, the denoiser, a whole model."""
