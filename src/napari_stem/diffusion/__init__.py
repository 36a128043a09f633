"""The conditional diffusion model: networks, objectives, schedules, samplers and noise."""
