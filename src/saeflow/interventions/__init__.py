"""Splice, ablate, amplify, swap, steer, patch: change what a model carries and let it go on."""
