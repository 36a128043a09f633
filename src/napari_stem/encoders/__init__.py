"""Encoders: image patches in, embeddings out; with a registry and a cache."""
