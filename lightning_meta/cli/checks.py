"""What can be known to fail before a long run begins."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer

from datamodules.episodes import EpisodeData
from datamodules.stream import Key
from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, judged

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


def require(config: dict[str, Any], rest: list[str]) -> None:
    """A run needs a task and a learner, in the configuration files or among the arguments `rest`."""
    for key in ("trainer", "model"):
        if not isinstance(config.get(key, {}), dict):
            raise InputError(f"{key} is {config[key]!r}: give it keys (--print_config shows them)")
    for key, kind, example in (("data", "task", "glyphs.yaml"), ("model.learner", "learner", "protonet.yaml")):
        node: Any = config
        for part in key.split("."):
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if "class_path" not in node and not any(arg.startswith(f"--{key}") for arg in rest):
            raise InputError(f"no {kind} is given: add --config {example}, say (`lightning-meta configs` lists them)")


def check_precision(precision: str | int | None, trainer: Trainer) -> None:
    """On a CPU, Lightning makes bfloat16 of 16-mixed; 16-true gives nan."""
    if str(precision).startswith("16") and trainer.strategy.root_device.type == "cpu":
        raise InputError(f"precision {precision} needs a GPU, and this run is on a CPU: choose 32 or bf16-mixed")


def rehearse(command: str, learner: FewShotLearner, data: LightningDataModule, trainer: Trainer) -> None:
    """Adapt to one task of the smallest and the largest size that each stage draws, or take one flat batch: a learner
    that does not fit the data, or data that are not there, end here and not in the middle of the training."""
    if not isinstance(data, EpisodeData):
        return
    data.trainer = trainer
    understudy = copy.deepcopy(learner).eval()
    for stage in STAGES[command]:
        stream = data.stream(stage)
        key = Key(stream.seed, stream.split, 0, 0)
        if stream.flat:
            batch = stream.tasks.draw_flat(key, stream.flat)
            learner.check_batch(batch)
            attempt("learn from a flat batch", understudy, understudy.loss, batch)
            continue
        for size in dict.fromkeys((stream.size.smallest(), stream.size.largest())):
            episode = stream.tasks.draw(key, *size)
            if stage == "train":
                learner.check_batch(episode)
            attempt("adapt to a task", understudy, lambda e: understudy.adapt(e.support)(e.query.x), episode)


def attempt(what: str, learner: FewShotLearner, act: Callable[[Any], Any], batch: Episode | Examples) -> None:
    """Call `act`; what PyTorch says where shapes do not go together becomes an InputError."""
    try:
        with torch.no_grad():
            act(batch)
    except RuntimeError as error:
        raise InputError(
            f"{type(learner).__name__} as configured cannot {what}, x {list(judged(batch).x.shape[1:])}: {error}. A"
            " backbone maps [n, *shape] to [n, features]"
        ) from error
