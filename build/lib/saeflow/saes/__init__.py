"""Banks of sparse autoencoders: training, encoding, quality, files; knows no study."""
