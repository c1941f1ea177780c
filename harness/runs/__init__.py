"""A run on disk: the run folder, and the bundle that can be copied to another machine."""
