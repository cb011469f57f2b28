"""What a run was: its configuration, software, machine, files, and what its jobs took."""
