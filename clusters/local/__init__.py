"""The back end for this machine."""
