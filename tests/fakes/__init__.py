"""Tiny random models with the real classes, shapes and on-disk layouts of the published ones."""
