"""Texts of the training mixture: categories, matched pairs, cloze, choices, decimals, documents.

Every sentence was written for this project. Each module draws the texts of one part from word lists
and sentence frames with a seed; the same seed gives the same texts on every platform.
"""
