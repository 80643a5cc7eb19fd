"""The drawn world and the training of the checkpoints that are shipped in data/models."""
