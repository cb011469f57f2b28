"""The study of scaling: a wide SAE of one site, trained on a corpus and read over it."""
