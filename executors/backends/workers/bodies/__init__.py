"""What a worker runs in: a process, or an interpreter of this process."""
