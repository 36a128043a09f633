"""How good a prediction is: metrics and protocols."""
