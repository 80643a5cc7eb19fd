"""Photos and their labelled boxes: reading, checking and writing them, and boxes drawn over pictures."""
