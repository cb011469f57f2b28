"""Pages of the study of wide SAEs."""
