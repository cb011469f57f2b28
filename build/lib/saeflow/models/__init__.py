"""Causal language models, CODI thoughts and their capture; knows no SAE."""
