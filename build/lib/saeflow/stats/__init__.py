"""Association tests, permutations and effect sizes on plain arrays; knows no model."""
