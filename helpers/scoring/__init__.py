"""Pictures to scores with intervals, and what the scores support."""
