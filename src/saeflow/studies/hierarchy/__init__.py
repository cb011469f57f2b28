"""The hierarchy study (methods/2): what features encode, and whether it matters."""
