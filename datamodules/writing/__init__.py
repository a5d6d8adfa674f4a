"""Writing of shard sets: images, features, and the task file beside them."""
