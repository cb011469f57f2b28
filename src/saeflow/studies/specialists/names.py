"""Names in the tables of what specialists do; what reads these tables needs no model."""

ZERO, MEAN = "zero", "mean"
"""Conditions: the specialist is set to 0, or everywhere to its mean over reference tokens."""
RANDOM_FEATURE, CROSS_DOMAIN = "random_feature", "cross_domain"
RANDOM_DIRECTION = "random_direction"
CONTROLS = (RANDOM_FEATURE, CROSS_DOMAIN, RANDOM_DIRECTION)
"""Conditions that take away as much on each prompt where the specialist is active.

random_feature: another feature of the prompt, of similar activation times decoder norm, brought to
the specialist's exactly; cross_domain: the decoder direction of a specialist of another topic at the
same block, at the same tokens and lengths; random_direction: a random one there."""
CONTAINED, JUDGED = "contained", "judged"
"""Whether an answer is right: the expected one is somewhere in it, or a judge says so."""
