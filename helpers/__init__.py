"""Photos with labelled boxes -> captions, prompts, grounded pictures, and scores with error bars."""
