"""Sources of images from which shard sets are written: folders, Omniglot and generated glyphs."""
