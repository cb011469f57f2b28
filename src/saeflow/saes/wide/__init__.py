"""Wide SAEs of tokens: trained on a stream, read over a corpus."""
