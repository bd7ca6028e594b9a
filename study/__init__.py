"""The platform: studies of pretraining methods, on Ray."""
