"""The campaign on a GPU machine without a network, in one command: README.md says how."""
