"""GSM8K feature interpretability: which SAE features follow which calculation tokens (methods/1)."""
