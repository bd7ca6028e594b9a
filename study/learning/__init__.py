"""Pretraining, features, heads and fine-tuning: PyTorch, without Ray."""
