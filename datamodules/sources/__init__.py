"""Sources of images from which shard sets are written: folders, Omniglot, Caltech-101, fonts and generated glyphs."""
