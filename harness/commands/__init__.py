"""What the commands of the command line do, and what several of them share."""
