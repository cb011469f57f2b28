"""Study 5 (methods/5): a wide SAE on a corpus, searched, read, explained and steered with."""
