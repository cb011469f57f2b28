"""Pages of the study of the decimal bug."""
