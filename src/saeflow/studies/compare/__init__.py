"""Comparisons across models, from the tables of the other studies."""
