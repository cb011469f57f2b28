"""Pages of the study of specialists."""
