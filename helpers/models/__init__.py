"""Which checkpoints, where they come from, and loading them on the device."""
