"""Training: sections as arrays, the linear mean, the denoiser, a whole model."""
