"""Files in the exact formats of upstream releases, for tests and smoke presets."""
