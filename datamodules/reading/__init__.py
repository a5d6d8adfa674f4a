"""Reading a shard set, local or remote: files, the cache of copies, decoding and preprocessing of images."""
