"""Notebooks as tasks: the study, and more arms for it, here or on a cluster."""
