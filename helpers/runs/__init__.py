"""A run folder: its protocol, its data set, its arms, and what is in it."""
