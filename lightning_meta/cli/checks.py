"""What can be known to fail before a long run begins."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning_utilities.core.rank_zero import rank_zero_info
from pytorch_lightning import LightningDataModule, Trainer

from datamodules.episode_data import EpisodeData
from datamodules.images import ImageEpisodes, ImageTasks
from datamodules.index.shard_index import Features
from datamodules.index.verification import check_features
from datamodules.reading.preprocess import Preprocess
from datamodules.sampling.meta_batches import Key
from datamodules.task_data import TaskData
from datamodules.worlds import Worlds, WorldStream
from lightning_meta.cli.spelling import shown
from lightning_meta.core import (
    Episode,
    FewShotLearner,
    InputError,
    MDPs,
    MetaRLLearner,
    rehearse_world,
)
from lightning_meta.core.world_rehearsal import LIVED
from lightning_meta.learners.fast_weights import GradientLearner
from lightning_meta.nn.undisturbed import loadable, undisturbed
from lightning_meta.training import MetaRL
from lightning_meta.training.base import MetaModule
from lightning_meta.training.evaluation import observe
from lightning_meta.training.trust import brief

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


def require(config: dict[str, Any], rest: list[str]) -> None:
    """A run needs a task and a learner, in the configuration files or among the arguments `rest`."""
    for key in ("trainer", "model"):
        if not isinstance(config.get(key, {}), dict):
            raise InputError(f"{key} is {shown(config[key])}: give it keys (--print_config shows them)")
    for key, kind, example in (("data", "task", "glyphs.yaml"), ("model.learner", "learner", "protonet.yaml")):
        node: Any = config
        for part in key.split("."):
            node = (node.get(part) or {}) if isinstance(node, dict) else {}
        named = (f"--{key}", f"--{key}.class_path")
        in_file = "class_path" in node if isinstance(node, dict) else True
        if not in_file and not any(arg.partition("=")[0] in named for arg in rest):
            raise InputError(f"no {kind} is given: add --config {example}, say (`lightning-meta configs` lists them)")


def check_trainer(precision: str | int | None, trainer: Trainer, model: MetaModule) -> None:
    """On a CPU, Lightning makes bfloat16 of 16-mixed; 16-true gives nan. An agent steps its optimiser itself."""
    half = str(precision).startswith("16")
    if half and trainer.strategy.root_device.type == "cpu":
        raise InputError(f"precision {precision} needs a GPU, and this run is on a CPU: choose 32 or bf16-mixed")
    if not isinstance(model, MetaRL):
        return
    if half:
        raise InputError(
            f"precision {precision} needs its losses scaled, which an agent that takes gradients itself does not: choose 32"
            " or bf16-mixed"
        )
    if precision == "bf16-true":
        raise InputError("precision bf16-true leaves an agent 3 digits of what it perceives: choose 32 or bf16-mixed")
    if model.learner.own_step and str(precision).startswith("bf16"):
        raise InputError(
            f"precision {precision} is too coarse for the conjugate gradients by which {type(model.learner).__name__} finds"
            " its outer step: choose 32"
        )
    if trainer.gradient_clip_val is not None:
        raise InputError(
            "an agent steps its optimiser itself: give model.clip in the place of trainer.gradient_clip_val"
        )
    if trainer.accumulate_grad_batches > 1:
        raise InputError("an agent steps with every meta-batch: enlarge data.meta_batch, not accumulate_grad_batches")


def add_trust(parser: ArgumentParser) -> None:
    """`--trust`, of a command that builds what a checkpoint names."""
    parser.add_argument(
        "--trust",
        type=str,
        action="append",
        metavar="PACKAGE",
        help="a package whose classes the checkpoint may name, and whose code then runs; repeatable",
    )


def images_of(path: str | Path, checkpoint: dict[str, Any]) -> Preprocess | Features | None:
    """How the images that a checkpoint was trained on were made, or what made the features; None where it was trained on
    neither. InputError where it does not say that properly."""
    for state in checkpoint.values():
        for name, kind in (("preprocess", Preprocess), ("features", Features)):
            if isinstance(state, dict) and isinstance(state.get(name), dict):
                try:
                    return (
                        check_features(Features(**state[name]))
                        if kind is Features
                        else Preprocess(**state[name]).check()
                    )
                except (TypeError, ValueError) as error:
                    raise InputError(f"{path} says of its training data {brief(state[name])}: {error}") from error
    return None


def classes_of(checkpoint: dict[str, Any]) -> torch.Tensor | None:
    """Fingerprints of the classes of images that a checkpoint was trained on, int64 [classes]; None where it does not tell."""
    for state in checkpoint.values():
        classes = state.get("classes") if isinstance(state, dict) else None
        if isinstance(classes, torch.Tensor) and classes.dtype is torch.int64 and classes.ndim == 1:
            return classes
    return None


def check_images(path: str | Path, checkpoint: dict[str, Any], data: LightningDataModule) -> None:
    """InputError where the images of `data` are not like those that the checkpoint was trained on. The data are told of
    the classes that it was trained on."""
    trained = images_of(path, checkpoint)
    if isinstance(data, EpisodeData):
        data.trained = classes_of(checkpoint)
    if trained and isinstance(data, ImageEpisodes) and isinstance(data.tasks, ImageTasks):
        check_shape(path, trained, data.tasks)


def check_shape(path: str | Path, trained: Preprocess | Features, tasks: ImageTasks) -> None:
    """InputError where a set's images have another shape than those trained on, or its features another maker."""
    index = tasks.shards.index
    if isinstance(trained, Features):
        if index.features != trained:
            raise InputError(
                f"{path} was trained on features of {trained.backbone}; {tasks.shards.root} holds"
                f" {f'those of {index.features.backbone}' if index.features else 'images'}: write its features with the same"
                " `lightning-meta shards features`"
            )
        return
    shape = (index.features.size,) if index.features else index.preprocess.shape
    if shape != trained.shape:
        raise InputError(
            f"{path} was trained on images of {times(trained.shape)} (channels x height x width), those of"
            f" {tasks.shards.root} are {times(shape)}: write that set again with --size {trained.size}"
            f"{' --channels 1' if trained.channels == 1 else ''}"
        )


def times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def rehearse(
    command: str, model: MetaModule, data: LightningDataModule, trainer: Trainer, processes: int | None = None
) -> None:
    """Adapt to one task of the smallest and the largest size that each stage draws, take a training step on one, or live
    through a short trial: a learner that does not fit the data, or data that are not there, end here and not in the middle
    of the training. What is measured of predictions is said. The learner stays as it was. `processes` will share a
    meta-batch, where that is not known to `trainer`."""
    if command == "fit":
        model.configure_optimizers()
    if not isinstance(data, TaskData):
        return
    data.trainer = trainer
    with undisturbed(model.learner), loadable(model.learner):
        rehearse_tasks(command, model.learner.eval(), data, processes)
    if isinstance(model.learner, FewShotLearner):
        for line in remarks(model.learner):
            rank_zero_info(line)


def rehearse_tasks(
    command: str, learner: FewShotLearner | MetaRLLearner, data: TaskData, processes: int | None
) -> None:
    if isinstance(data, Worlds):
        assert isinstance(learner, MetaRLLearner)  # the configuration was asked
        for stage, stream in ((name, each) for name in STAGES[command] for each in data.streams(name)):
            try_trial(learner, stream, long=stage == STAGES[command][0])
            if stage == "train":
                share = range(stream.meta_batch // (processes or stream.world))
                learner.train().check_batch(stream.draw(0, share))
                learner.eval()
    if isinstance(data, EpisodeData):
        assert isinstance(learner, FewShotLearner)
        rehearse_episodes(command, learner, data)


def rehearse_episodes(command: str, learner: FewShotLearner, data: EpisodeData) -> None:
    for stage, stream in [(name, each) for name in STAGES[command] for each in data.streams(name)]:
        key = Key(stream.seed, stream.split, 0, 0)
        if stream.flat:
            try_step(learner, stream.tasks.draw_flat(key, stream.flat))
            continue
        for size in dict.fromkeys((stream.size.smallest(), stream.size.largest())):
            episode = stream.tasks.draw(key, *size)
            try_task(learner, episode)
            if stage == "train":
                try_step(learner, episode)
            else:
                attempt("predict a query twice", learner, lambda e: observe(learner, e), episode)


def remarks(learner: FewShotLearner) -> list[str]:
    """What was measured of predictions and is no choice of the configuration's."""
    backbone, found = backbone_name(learner), []
    chosen = isinstance(learner, GradientLearner) and learner.normalises and learner.batch_stats == "transductive"
    if learner.transductive and not chosen:
        found.append(
            f"transductive: a prediction depends on the other queries, for {backbone} mixes the rows of a batch"
        )
    if learner.noisy:
        found.append(f"predictions change from call to call: {backbone} draws random numbers in evaluation mode")
    return found


def try_trial(agent: MetaRLLearner, stream: WorldStream, long: bool) -> None:
    """The world by itself, over many steps if `long`, then a trial of two tasks, its episodes cut off after two steps;
    InputError where the world does not do what it should, or the agent does not fit it."""
    some = stream.draw(0, range(2))
    rehearse_world(stream.family, some, LIVED if long else 0)
    agent.check(stream.family)
    world = copy.copy(stream.family)
    world.horizon = min(world.horizon, 2)
    try:
        with torch.no_grad():
            agent.returns(MDPs(world, some.seeds, some.draws))
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:
        kind = "discrete" if world.discrete else "continuous"
        raise InputError(
            f"{type(agent).__name__} as configured cannot act in {type(world).__name__}, which shows {world.observations}"
            f" numbers and has {world.actions} {kind} actions: {error}"
        ) from error


def try_step(learner: FewShotLearner, batch: Episode) -> None:
    """One training step; InputError where the learner cannot learn from such batches."""
    learner.train().check_batch(batch)
    attempt("take a training step", learner, lambda each: learner.loss(each).loss.backward(), batch, graph=True)
    learner.eval()


def try_task(learner: FewShotLearner, episode: Episode) -> None:
    """Adapt and predict once; InputError where the learner does not fit such tasks."""
    attempt("adapt to a task", learner, lambda e: learner.adapt(e.support)(e.query.x), episode)


def attempt(what: str, learner: FewShotLearner, act: Callable[[Any], Any], batch: Episode, graph: bool = False) -> None:
    """Call `act`; whatever a backbone of the user's or PyTorch raises becomes an InputError."""
    try:
        with torch.set_grad_enabled(graph):
            act(batch)
    except InputError:
        raise
    except Exception as error:
        x = list(batch.query.x.shape[1:])
        raise InputError(
            f"{type(learner).__name__} with {backbone_name(learner)} as configured cannot {what}, x {x}:"
            f" {type(error).__name__}: {' '.join(str(error).split())}. {remedy(str(error))}"
        ) from error


def remedy(error: str) -> str:
    if re.search(r"derivative for .* is not implemented", error):
        return "Second derivatives do not go through that operation: put another in its place, or choose first_order"
    return "A backbone maps [n, *shape] to [n, features]"


def backbone_name(learner: FewShotLearner) -> str:
    backbone = (
        learner.network.backbone if isinstance(learner, GradientLearner) else getattr(learner, "backbone", learner)
    )
    return type(backbone).__name__
