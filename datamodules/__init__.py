"""Streams of tasks: sharded class records, the episodes drawn from them, and task distributions made on the fly."""
