"""Texts of the specialists study: the same content in several forms, and plain categories."""
