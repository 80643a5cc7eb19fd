"""Photos to captions, captions to prompts."""
