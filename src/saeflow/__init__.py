"""saeflow: sparse-autoencoder interpretability studies, each number beside its chance level."""

import os

__version__ = "0.1.0"

# OpenMP's workers spin while they wait, and torch's small products wait often. On a machine that is
# doing something else as well, spinning made training 15 times slower; sleeping costs nothing
# measurable on an idle one. It has to be said before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
