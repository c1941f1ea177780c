"""What is asked. One experiment is one file; its docstring holds the question and the prediction."""
