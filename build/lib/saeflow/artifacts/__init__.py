"""Everything on disk: one pyarrow schema per artifact, atomic writes, validated reads, provenance."""
