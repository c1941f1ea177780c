"""Helpers for every other package: errors, paths, atomic file writes, processes and signals."""
