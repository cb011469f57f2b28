"""What a run will take, told before it starts: jobs, memory, disk and time."""
