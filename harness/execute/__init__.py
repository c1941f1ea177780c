"""Who trains what: one run in this process, or many through a queue, by workers here or on Slurm."""
