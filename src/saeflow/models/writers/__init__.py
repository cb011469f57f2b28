"""Models that reply to prompts in text: one on this machine, or one behind an endpoint."""
