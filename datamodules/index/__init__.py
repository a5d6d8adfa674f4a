"""The index of a shard set: which classes it holds, and where in the shards their images lie."""
