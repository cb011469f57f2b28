"""The configuration: one pydantic model per block, the single source of defaults, docs and checks."""
