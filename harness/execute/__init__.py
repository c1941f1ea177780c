"""Train one run in this process, or many through a queue with workers on this machine or on Slurm."""
