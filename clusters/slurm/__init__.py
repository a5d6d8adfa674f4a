"""The back end for Slurm."""
