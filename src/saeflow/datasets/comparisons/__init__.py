"""Prompts that ask which of two numbers is bigger, for the study of the decimal bug (methods/4)."""
