"""SAEs that others trained: from their releases to banks that read plain activations."""
