"""The result of writing a shard set, for a report."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.index.shard_index import Index


@dataclass(frozen=True)
class WrittenSet:
    """A shard set that was written.

    folder: the folder of the shards.
    index: the index of the set.
    notes: lines about what was passed over or is remarkable, one each.
    """

    folder: Path
    index: Index
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the notes, the size of the set, and the command that trains on it."""
        index, out = self.index, self.folder
        sizes = ", ".join(f"{name} {len(records)}" for name, records in index.splits.items())
        megabytes = index.source_bytes / 1e6
        size = f"{out}: {len(index.records)} classes ({sizes}), {len(index.sources)} shards, {megabytes:.1f} MB"
        learner = "baseline" if index.features else "protonet"  # a ProtoNet on fixed features has nothing to train
        next_command = f"next: lightning-meta fit --config {out}/task.yaml --config {learner}.yaml"
        if not (out / "task.yaml").is_file():
            next_command = "there is no task.yaml, because a run needs the splits train, val and test"
        return "\n".join([*self.notes, size, next_command])
