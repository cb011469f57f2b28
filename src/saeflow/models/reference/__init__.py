"""Training of the reference models: examples, losses, the loop, checkpoints (design, section 10)."""
