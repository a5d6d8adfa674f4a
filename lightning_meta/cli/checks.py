"""What can be known to fail before a long run begins."""

import copy
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer

from datamodules.episodes import EpisodeData
from datamodules.stream import Key
from lightning_meta.core import FewShotLearner, InputError

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
    """Adapt to one task of the smallest and the largest size that each stage draws: a learner that does not fit the
    tasks, or data that are not there, end here and not in the middle of the training."""
    if not isinstance(data, EpisodeData):
        return
    data.trainer = trainer
    understudy = copy.deepcopy(learner).eval()
    for stage in STAGES[command]:
        stream = data.stream(stage)
        for size in dict.fromkeys((stream.size.smallest(), stream.size.largest())):
            support, query = stream.tasks.draw(Key(stream.seed, stream.split, 0, 0), *size)
            try:
                with torch.no_grad():
                    understudy.adapt(support)(query.x)
            except RuntimeError as error:  # shapes that do not go together
                raise InputError(
                    f"{type(learner).__name__} as configured cannot adapt to a task of split {stream.split!r}, x"
                    f" {list(support.x.shape[1:])}: {error}. A backbone maps [n, *shape] to [n, features]"
                ) from error
