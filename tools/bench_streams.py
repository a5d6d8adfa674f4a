"""Episodes per CPU second of the stream alone, beside easyfsl's TaskSampler on the same images held in memory.

    pip install --no-deps easyfsl==1.5.0
    python tools/bench_streams.py [--quick] [--json]

The peer draws from a tensor of uint8 images through an ordinary DataLoader (num_workers 0), with the same conversion to
float. The limit is a bare gather of as many random images of the same memory-mapped shard, converted to float: no random
choice of classes, no episode. The last row is the share of a training's time that waits for data (ours), no peer.
"""

import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch
from bench import Row, arguments, race, show  # sets OMP_NUM_THREADS before torch is imported
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.sources import glyphs
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import to_floats
from lightning_meta.core.allocator import keep_freed_memory
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import Conv4

CLASSES, DRAWINGS = 300, 20


def main() -> None:
    keep_freed_memory()  # as the command line does: fresh pages would cost more than the reading
    args = arguments(__doc__ or "")
    episodes, repeats = (100, 1) if args.quick else (1000, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "glyphs"
        classes = (ClassImages(f"{i}", "train", glyphs.draw_class(0, i, DRAWINGS)[:, None]) for i in range(CLASSES))
        write_shards(root, "glyphs", Preprocess(28, 1), classes)
        tasks = ImageTasks(ShardSet(str(root)))
        rows = []
        for ways, shots, queries in ((5, 1, 15), (20, 5, 15), (60, 1, 5)):
            size, n = EpisodeSize(ways, shots, queries), max(1, episodes * 5 // ways)
            ours = MetaLoader(EpisodeStream(tasks, "train", size, n, meta_batch=1))
            peer = easyfsl_loader(memory(tasks), ways, shots, queries, n)
            item = f"episodes/s, {ways}-way {shots}-shot {queries}-query, 28x28"
            limit = gather_rate(tasks, ways * (shots + queries))
            rows.append(
                race(
                    item, lambda ours=ours: sum(1 for _ in ours), lambda peer=peer: sum(1 for _ in peer), limit, repeats
                )
            )
        rows.append(waiting(tasks, steps=5 if args.quick else 50))
    show(rows, args.json)


class Memory(Dataset[tuple[torch.Tensor, int]]):
    """All images in memory, as easyfsl's sampler wants them: float image and class by number."""

    def __init__(self, images: torch.Tensor, labels: list[int]):
        self.images, self.labels = images, labels

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index].float() / 255, self.labels[index]

    def __len__(self) -> int:
        return len(self.labels)

    def get_labels(self) -> list[int]:
        return self.labels


def memory(tasks: ImageTasks) -> Memory:
    every = np.concatenate([tasks.shards.images(record, np.arange(DRAWINGS)) for record in range(CLASSES)])
    return Memory(torch.from_numpy(every), [record for record in range(CLASSES) for _ in range(DRAWINGS)])


def easyfsl_loader(
    data: Memory, ways: int, shots: int, queries: int, episodes: int
) -> DataLoader[tuple[torch.Tensor, int]]:
    """easyfsl 1.5.0's TaskSampler; its data sets, which want torchvision, are not imported, and torch's Sampler takes no
    `data_source` any more."""
    if "easyfsl.datasets" not in sys.modules:
        sys.modules["easyfsl.datasets"] = types.SimpleNamespace(FewShotDataset=Memory)  # type: ignore[assignment]
        Sampler.__init__ = lambda self, data_source=None: None  # type: ignore[method-assign]  # noqa: ARG005
    from easyfsl.samplers import TaskSampler  # type: ignore[import-untyped]

    sampler = TaskSampler(data, ways, shots, queries, episodes)  # type: ignore[arg-type]
    return DataLoader(data, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)


def gather_rate(tasks: ImageTasks, images: int, repeats: int = 300) -> float:
    """Gathers per CPU second of `images` random images, one numpy indexing and one conversion each."""
    shard = np.concatenate([tasks.shards.images(record, np.arange(DRAWINGS)) for record in range(CLASSES)])
    which = np.random.default_rng(0).integers(0, len(shard), (repeats, images))
    start = time.process_time()
    for i in which:
        torch.from_numpy(shard[i]).float().div_(255)
    return repeats / (time.process_time() - start)


def waiting(tasks: ImageTasks, steps: int) -> Row:
    """Share of a ProtoNet training's time (5-way 1-shot, meta-batch 4) that is spent on the loader, none of it hidden."""
    learner = ProtoNet(Conv4())
    stream = EpisodeStream(tasks, "train", EpisodeSize(5, 1, 5), 4 * steps, meta_batch=4)
    waited, start, before = 0.0, time.perf_counter(), time.perf_counter()
    for episode in MetaLoader(stream):
        waited += time.perf_counter() - before
        learner.loss(to_floats(episode)).loss.backward()
        before = time.perf_counter()
    share = waited / (time.perf_counter() - start)
    return Row("share of training time waiting for data (num_workers 0)", share, float("nan"), float("nan"), 0.0)


if __name__ == "__main__":
    main()
