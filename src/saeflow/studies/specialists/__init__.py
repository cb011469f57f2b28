"""Study 3: do the most selective features detect form or meaning? (methods/3)."""
