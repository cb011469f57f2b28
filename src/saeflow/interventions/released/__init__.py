"""Released SAEs held against what they should give, before any study reads them."""
