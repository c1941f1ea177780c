"""One module for each verb of the command line, with what it does."""
