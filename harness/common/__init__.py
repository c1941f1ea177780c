"""What every other package may use: errors, places on disk, files that are whole, processes and signals."""
