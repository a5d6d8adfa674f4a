"""Costs of a set of images against its number of classes: opening it, memory, and drawing an episode.

    python tools/bench_scale.py [--quick] [--json]

Each set has 10 images of 28x28 per class, in sources of 10,000 classes; the images are holes of sparse files, so that the index
is of full size and the images take no room. Every figure is of a process of its own; memory is what the process has dirtied
by itself, without pages of the index, which all processes share. The peer is the set of 1,000 classes: a ratio of 1 means
that the cost does not grow. Quick: up to 10^5 classes; otherwise up to 10^7, which takes 3 GB of disk and 6 GB of memory.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench import Row, arguments, show  # sets OMP_NUM_THREADS before torch is imported

if TYPE_CHECKING:
    from datamodules.sampling.episodes import EpisodeStream

IMAGES, SIDE, OF_SOURCE = 10, 28, 10_000
WORKERS = 8
LIMITS = {"opening, CPU ms": 100.0, "opening, private MB": 50.0}


def main() -> None:
    args = arguments(__doc__ or "")
    sizes, rows, smallest = (10**3, 10**4, 10**5, 10**6, 10**7), list[Row](), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        for classes in sizes[:3] if args.quick else sizes:
            root = Path(folder) / str(classes)
            write(root, classes)
            costs = measure(root)
            smallest = smallest or costs
            rows += [
                Row(
                    f"{name}, {classes:,} classes",
                    cost,
                    smallest[name],
                    cost / smallest[name],
                    LIMITS.get(name, float("nan")),
                )
                for name, cost in costs.items()
            ]
            for path in root.iterdir():
                path.unlink()
    show(rows, args.json)


def write(root: Path, classes: int) -> None:
    """Write the index of a set, and its sources as sparse files."""
    import numpy as np

    from datamodules.index.contents import Blobs, Classes, Contents, Sources
    from datamodules.reading.preprocess import Preprocess

    root.mkdir()
    each, number = IMAGES * SIDE**2, np.arange(classes)
    sources = -(-classes // OF_SOURCE)
    lengths = np.full(sources, OF_SOURCE * each)
    for source in range(sources):
        with (root / f"train-{source:06d}.tar").open("wb") as file:
            file.truncate(OF_SOURCE * each)
    blobs = Blobs(
        source=number // OF_SOURCE,
        offset=number % OF_SOURCE * each,
        bytes=np.full(classes, each),
        crc32=np.full(classes, zlib.crc32(bytes(each))),
    )
    names = [f"class {i}" for i in range(classes)]
    of_classes = Classes(names, np.full(classes, IMAGES))
    paths = [f"train-{source:06d}.tar" for source in range(sources)]
    splits = {"train": number}
    Contents("empty", Preprocess(SIDE, 1), False, Sources(paths, lengths), blobs, of_classes, splits, IMAGES).write(
        root
    )


def measure(root: Path) -> dict[str, float]:
    """Return the costs of a set, measured in a new process."""
    command = f"import bench_scale; bench_scale.report({str(root)!r})"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def report(root: str) -> None:
    """Print the costs of a set as JSON."""
    from datamodules.reading.shard_set import ShardSet
    from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
    from datamodules.sampling.image_tasks import ImageTasks

    before, begun = private(), time.process_time()
    shards = ShardSet(root)
    opening, opened = time.process_time() - begun, private()
    begun = time.process_time()
    stream = EpisodeStream(ImageTasks(shards), "train", EpisodeSize(5, 1, 5), 400)
    stream.read(0)
    first = time.process_time() - begun
    begun = time.process_time()
    for number in range(200):
        stream.read(number)
    episode = (time.process_time() - begun) / 200
    costs = {
        "opening, CPU ms": 1e3 * opening,
        "opening, private MB": max(opened - before, 0.1),
        "first episode, CPU ms": 1e3 * first,
        "episode, CPU ms": 1e3 * episode,
        f"private MB of each of {WORKERS} workers": sum(in_worker(stream, 200 + 20 * i) for i in range(WORKERS))
        / WORKERS,
    }
    print(json.dumps(costs))


def in_worker(stream: "EpisodeStream", first: int) -> float:
    """Return the MB that a forked process dirties while it draws 20 episodes."""
    read, write = os.pipe()
    if not os.fork():
        before = private()
        for number in range(first, first + 20):
            stream.read(number)
        os.write(write, str(max(private() - before, 0.1)).encode())
        os._exit(0)
    os.wait()
    return float(os.read(read, 100))


def private() -> float:
    """Return the memory that this process has dirtied by itself, in MB (10^6 bytes). Linux only."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) * 1024 / 1e6


if __name__ == "__main__":
    main()
