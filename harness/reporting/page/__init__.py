"""A report as one HTML file: no other file and no network is needed to read it."""
