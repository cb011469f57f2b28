"""Wide SAEs, trained on a stream of batches instead of captured rows."""
