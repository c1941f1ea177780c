"""The words of the command line: options, help texts, exit codes."""
