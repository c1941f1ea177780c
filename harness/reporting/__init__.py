"""What a person sees: figures, and the terminal."""
