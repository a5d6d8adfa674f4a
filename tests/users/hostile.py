"""Checkpoints as a stranger might make them, and a watch over what reading them does to the machine."""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_meta.training.checkpoint import build

MLP = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [784, 8]}}
PROTONET = {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": MLP}}
# Runs the source text that it is given, and says that it returns a module.
PAYLOAD = {
    "class_path": "torch.fx.graph_module.reduce_graph_module",
    "init_args": {
        "body": {"_code": "def forward(self): pass\n"},
        "import_block": "open('PWNED', 'w').write('x')\n",
    },
}


class Towers(nn.Module):
    """A user's backbone, of a list of modules and a dictionary of them; `weights` it would read by itself."""

    def __init__(self, towers: list[nn.Module], last: dict[str, nn.Module], weights: str | None = None, width: int = 8):
        super().__init__()
        self.towers, self.last, self.out_features = nn.ModuleList(towers), nn.ModuleDict(last), width
        if weights is not None:
            self.load_state_dict(torch.load(weights))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last["head"](torch.cat([tower(x) for tower in self.towers], 1))


TOWERS = {
    "class_path": "hostile.Towers",
    "init_args": {
        "towers": [MLP, {"class_path": "lightning_meta.nn.Pixels", "init_args": {"image_size": 2}}],
        "last": {"head": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 12, "out_features": 8}}},
    },
}


def contents(learner: dict[str, Any] = PROTONET, root: str = "shards") -> dict[str, Any]:
    """Return what `fit` on images saves, as far as anybody reads it."""
    torch.manual_seed(0)
    weights = {f"learner.{name}": w for name, w in build(learner).state_dict().items()}
    data = {"class_path": "datamodules.images.ImageEpisodes", "init_args": {"root": root, "meta_batch": 4}}
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}
    return {
        "epoch": 1,
        "global_step": 7,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": weights,
        "hyper_parameters": {"learner": copy.deepcopy(learner), "optimizer": optimizer, "data": data},
        "callbacks": {"Cost": {"seconds": 2.0, "cpu_seconds": 1.0}},
        "ImageEpisodes": {"preprocess": {"size": 28, "channels": 1, "invert": False}},
    }


def saved(place: Path, learner: Any, **more: Any) -> Path:
    """A checkpoint that is harmless but for the description of its learner, and for `more`."""
    checkpoint = contents()
    checkpoint["hyper_parameters"]["learner"] = learner
    torch.save(checkpoint | more, place / "given.ckpt")
    return place / "given.ckpt"


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of something in nested dictionaries and lists."""
    yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nodes(one, (*path, key))


def put(value: Any, path: tuple[Any, ...], one: Any) -> Any:
    """A copy with `one` at a place."""
    if not path:
        return one
    value = copy.copy(value)
    value[path[0]] = put(value[path[0]], path[1:], one)
    return value


class Watch:
    """The record of what a process opened for writing, imported, ran or connected to, from its first step on."""

    EVENTS = ("import", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
    EVENTS += (
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "shutil.rmtree",
        "os.symlink",
        "os.link",
        "os.truncate",
    )

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] | None = None
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is None:
            return
        if event in self.EVENTS or (
            event == "open" and (set(str(arguments[1])) & set("wax+") or (arguments[2] or 0) & 3)
        ):
            self.seen.add((event, str(arguments[0])))

    @contextmanager
    def over(self) -> Iterator[set[tuple[str, str]]]:
        self.seen = seen = set()
        try:
            yield seen
        finally:
            self.seen = None


def inside(folder: Path, seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return what happened elsewhere than below a folder."""
    return {(event, what) for event, what in seen if not what.startswith(str(folder))}
