"""How large models and results will be, told from the configuration before they are made."""
