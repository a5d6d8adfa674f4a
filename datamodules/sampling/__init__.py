"""Sampling of tasks: episodes, flat batches, and meta-batches as a pure function of (seed, epoch, index)."""
