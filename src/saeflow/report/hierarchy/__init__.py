"""Pages of the hierarchy study."""
