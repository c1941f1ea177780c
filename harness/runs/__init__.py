"""A run on disk: its folder, and the bundle that travels to another machine."""
