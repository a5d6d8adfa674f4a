"""What can be known to fail before a long run begins."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer

from datamodules.episodes import EpisodeData
from datamodules.images import ImageEpisodes, ImageTasks
from datamodules.preprocess import Preprocess
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


def images_of(checkpoint: dict[str, Any]) -> Preprocess | None:
    """How the images that a checkpoint was trained on were made; None where it was not trained on images."""
    for state in checkpoint.values():
        if isinstance(state, dict) and isinstance(state.get("preprocess"), dict):
            return Preprocess(**state["preprocess"])
    return None


def check_images(path: str | Path, checkpoint: dict[str, Any], data: LightningDataModule) -> None:
    """InputError where the images of `data` have another shape than those that the checkpoint was trained on."""
    trained = images_of(checkpoint)
    if trained and isinstance(data, ImageEpisodes) and isinstance(data.tasks, ImageTasks):
        check_shape(path, trained, data.tasks)


def check_shape(path: str | Path, trained: Preprocess, tasks: ImageTasks) -> None:
    index = tasks.shards.index
    shape = (index.features.size,) if index.features else index.preprocess.shape
    if shape != trained.shape:
        raise InputError(
            f"{path} was trained on images of {times(trained.shape)} (channels x height x width), those of"
            f" {tasks.shards.root} are {times(shape)}: write that set again with --size {trained.size}"
            f"{' --channels 1' if trained.channels == 1 else ''}"
        )


def times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


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
            try_task(understudy, episode)


def try_task(learner: FewShotLearner, episode: Episode) -> None:
    """Adapt and predict once; InputError where the learner does not fit such tasks."""
    attempt("adapt to a task", learner, lambda e: learner.adapt(e.support)(e.query.x), episode)


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
