"""Reads damaged and hostile checkpoints and shard sets:  python fuzz_strangers.py CHECKPOINTS SETS SEED FOLDER

Prints as JSON how each ended, and what of it touched the machine more than a benign one does.
"""

import io
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from datamodules.index.header import FeatureInfo
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.writing.features import write_features
from datamodules.writing.shards import ClassImages, write_shards
from hostile import MLP, PAYLOAD, PROTONET, TOWERS, Watch, contents, inside, nodes, put
from lightning_meta.cli.adapt import adapt
from lightning_meta.core import InputError
from lightning_meta.evaluation.contestants import contestants
from lightning_meta.training import load
from lightning_meta.training.checkpoint import origin, read, trained_with, unlike
from support.shard_index import Columns, rewrite, signed

LIMIT = 20.0  # seconds of CPU of one file
NAMES = (
    "os.system",
    "evil_module.Net",
    "torch.fx.graph_module.reduce_graph_module",
    "builtins.exec",
    "torch.nn.Linear",
)
NAMES += (
    "lightning_meta.nn.build.find",
    "torchvision.models.resnet18",
    "..",
    "",
    "a b",
    "lightning_meta.rl.RL2",
    "\x00",
)
ODD = [None, True, -1, 0, 3.5, float("nan"), float("inf"), 10**9, 10**18, "", "x", "../../x", "\udcff", [], {}, [[[]]]]
ODD += [
    PAYLOAD,
    MLP,
    {"class_path": "evil_module.make"},
    {"class_path": 3},
    [PAYLOAD, MLP],
    {"init_args": PAYLOAD},
    "9" * 5000,
]


def mutated(value: Any, rng: random.Random) -> Any:
    """Nested plain values with one place changed."""
    place = rng.choice([path for path in nodes(value) if path])
    held: Any = value
    for key in place:
        held = held[key]
    ways: list[Callable[[], Any]] = [lambda: rng.choice(ODD), lambda: rng.choice(ODD)]
    if isinstance(held, str):
        ways += [lambda: rng.choice(NAMES), lambda: held[: len(held) // 2], lambda: held + "."]
    if isinstance(held, (int, float)) and not isinstance(held, bool):
        ways += [lambda: held + 1, lambda: -held, lambda: held * 10**6, lambda: held // 2, lambda: str(held)]
    if isinstance(held, list) and held:
        ways += [lambda: held[1:], lambda: held + held[:1], lambda: held[::-1], lambda: held * 2]
    if isinstance(held, dict) and held:
        ways += [lambda: dict(list(held.items())[1:]), lambda: held | {"more": 1}, lambda: list(held.values())]
    return put(value, place, rng.choice(ways)())


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some flipped, cut or doubled."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.2 else changed)


def some_checkpoint(path: Path, rng: random.Random) -> None:
    learner = rng.choice(
        (PROTONET, {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": TOWERS}})
    )
    whole = contents(learner)
    if rng.random() < 0.2:
        file = io.BytesIO()
        torch.save(whole, file)
        path.write_bytes(flipped(file.getvalue(), rng))
        return
    part = rng.choice([name for name in whole if name != "state_dict"] + ["hyper_parameters"] * 5)
    for _ in range(rng.choice((1, 1, 2))):
        whole = whole | {part: mutated({part: whole[part]}, rng).get(part)}
    torch.save(whole, path)


def use_checkpoint(path: Path) -> None:
    """As adapt, compare and test do."""
    checkpoint = read(path)
    origin(path, checkpoint)
    unlike(PROTONET, checkpoint)
    for name in ("classes", "tasks"):
        trained_with(path, name)
    load(path, trust=["hostile"])
    with redirect_stdout(io.StringIO()):
        adapt(path, path.parent / "support", path.parent / "query", path.parent / "out.csv", trust=["hostile"])
    contestants([path], None, ["hostile"])


def use_set(folder: Path) -> None:
    """Everything in it, as an epoch and `shards verify` would."""
    for on_error in ("raise", "skip"):
        shards = ShardSet(str(folder), on_error)
        shards.verify()
        for split in shards.index.splits:
            list(EpisodeStream(ImageTasks(shards), split, EpisodeSize(2, 1, 1), 2))


def some_set(source: Path, folder: Path, rng: random.Random) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    files = sorted(folder.iterdir())
    if rng.random() < 0.3:
        file = rng.choice(files)
        file.write_bytes(flipped(file.read_bytes(), rng))
        return
    if rng.random() < 0.6:
        rewrite(folder, lambda columns: change_a_column(columns, rng))
        return
    index = json.loads((folder / "index.json").read_text())
    for _ in range(rng.choice((1, 1, 2))):
        index = mutated(index, rng)
    (folder / "index.json").write_text(signed(index))


def change_a_column(columns: Columns, rng: random.Random) -> None:
    """Another value in one place of an index, or a column that is shorter, longer or in another order."""
    name = rng.choice([name for name, values in columns.items() if values.size])
    values = columns[name]
    longer = np.concatenate([values, values[:1]]).astype(values.dtype)  # concatenation takes the padding out of rows
    ways = (lambda: values[1:], lambda: values[::-1], lambda: longer, lambda: values[:0])
    if rng.random() < 0.3:
        columns[name] = rng.choice(ways)()
        return
    if values.dtype.names:
        values = values[rng.choice(values.dtype.names)]
    flat, place = values.reshape(-1), rng.randrange(values.size)
    largest, held = int(np.iinfo(values.dtype).max), int(flat[place])
    flat[place] = rng.choice(
        (0, 1, largest, largest // 2, rng.randrange(largest), max(0, held - 1), rng.randrange(200))
    )


def sets(folder: Path) -> list[Path]:
    """Of arrays, of encoded files, and of features."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (4, 1, 8, 8), dtype=np.uint8) for _ in range(6)]
    splits = ["train", "train", "val", "val", "test", "test"]

    def encoded(image: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image[0]).save(file, "PNG")
        return file.getvalue()

    some = [ClassImages(f"c{i}", split, each) for i, (split, each) in enumerate(zip(splits, images, strict=True))]
    files = [one._replace(images=[(".png", encoded(image)) for image in one.images]) for one in some]
    write_shards(folder / "arrays", "arrays", Preprocess(8, 1), some)
    write_shards(folder / "files", "files", Preprocess(8, 1), files)
    about = FeatureInfo(3, "{}")
    made = lambda x: np.ones((len(x), 3), np.float32)  # noqa: E731
    write_features(ShardSet(str(folder / "arrays")), folder / "features", made, about)
    return [folder / name for name in ("arrays", "files", "features")]


def ended(use: Callable[[Path], None], path: Path) -> str:
    """ok, refused, or what it was otherwise."""
    begun = time.process_time()
    try:
        use(path)
    except InputError as error:
        return "refused" if str(error) else "refused without a word"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        if (took := time.process_time() - begun) > LIMIT:
            print(f"{path} took {took} s", file=sys.stderr)
    return "ok"


def main(checkpoints: int, shard_sets: int, seed: int, folder: Path) -> None:
    watch, ends, rng = Watch(), Counter[str](), random.Random(seed)
    for name in ("support/a", "support/b", "query"):
        (folder / name).mkdir(parents=True)
        Image.new("L", (28, 28), 7 * len(name)).save(folder / name / "0.png")
    path, sources = folder / "x.ckpt", sets(folder)
    torch.save(contents(), path)
    with watch.over() as benign:  # twice, for what is imported once
        for _ in range(2):
            for use, what in ((use_checkpoint, path), *((use_set, source) for source in sources)):
                assert ended(use, what) == "ok", (what, ended(use, what))
    slowest, more = 0.0, set[tuple[str, str]]()
    for number in range(checkpoints + shard_sets):
        if number < checkpoints:
            use, where = use_checkpoint, path
            some_checkpoint(path, rng)
        else:
            use, where = use_set, folder / "changed"
            some_set(rng.choice(sources), where, rng)
        begun = time.process_time()
        with watch.over() as seen:
            end = ended(use, where)
        slowest = max(slowest, time.process_time() - begun)
        ends[end] += 1
        more |= inside(folder, seen - benign)
        if end not in ("ok", "refused"):
            print(f"{number}: {end}", file=sys.stderr)
    print(json.dumps({"ends": ends, "more": sorted(more), "slowest": slowest}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
