"""The part about models, encoders and predicting."""
