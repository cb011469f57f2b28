"""saeflow: sparse-autoencoder interpretability studies, each number beside its chance level."""

__version__ = "0.1.0"
