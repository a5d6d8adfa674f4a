"""Evaluation from Python, as `lightning-meta test` does it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from lightning_meta.core import FewShotLearner, InputError, MetaRLLearner
from lightning_meta.evaluation.suite import sizes_asked, test_each_size
from lightning_meta.reports.results import Result
from lightning_meta.training import MetaRL, MetaTraining, load
from lightning_meta.training.base import MetaModule
from lightning_meta.training.checkpoint import Origin, origin, read
from lightning_meta.training.quiet import LIGHTNING, only_errors, quiet
from lightning_meta.training.task_data import TaskData


def evaluate(
    learner: str | Path | FewShotLearner | MetaRLLearner | MetaModule,
    data: TaskData,
    ways: int | Sequence[int] | None = None,
    shots: int | Sequence[int] | None = None,
    episodes: int | None = None,
    *,
    trainer: Trainer | None = None,
    trust: Sequence[str] = (),
) -> list[Result]:
    """Score a learner on the test tasks of a data module, as `lightning-meta test` does.

        from datamodules import ImageEpisodes
        one, five = lightning_meta.evaluate("best.ckpt", ImageEpisodes("shards/glyphs"), ways=5, shots=[1, 5])
        print(one.score.mean, one.score.ci95)
        print(one.text())

    The data module is left as it was.

    Args:
        learner: A checkpoint of `fit`, a learner or an agent, or a Lightning module of one.
        data: The tasks, such as `datamodules.ImageEpisodes`.
        ways: Classes of a task, one number or several; by default those of `data`.
        shots: Support examples per class, one number or several; by default those of `data`. Every one of `ways` is
            tested with every one of `shots`.
        episodes: The number of test tasks of each size; by default that of `data`.
        trainer: The trainer to test with, which must have `inference_mode=False`; by default a silent one on one device.
            Its loggers get the scores, at the last step of the checkpoint's training.
        trust: Packages whose classes a checkpoint may name; their code runs.

    Returns:
        One result per size, in order: `score` is what the learner is judged by, with its 95 % confidence interval,
        `measurements` all that was measured, `text()` and `to_json()` what the command prints and writes.

    Raises:
        InputError: If the learner cannot do these tasks, the data cannot give them, or the file is not a checkpoint.
    """
    module, made = prepared(learner, data, trust)
    with warnings.catch_warnings(), only_errors(*LIGHTNING), as_it_was(data), at_its_stage(module):
        quiet()
        if episodes is not None:
            data.test_count = episodes
        sizes = sizes_asked(data, several(ways), several(shots))
        return list(test_each_size(module, trainer or silent_trainer(), data, sizes, made))


def prepared(learner: Any, data: TaskData, trust: Sequence[str]) -> tuple[MetaModule, Origin]:
    """Return a learner under Lightning, and what is known of its making.

    Raises:
        InputError: If `learner` is not one, or its tasks are of another kind than the data.
    """
    made = Origin(None, None, None, None)
    if isinstance(learner, str | Path):
        checkpoint = read(learner)
        made, path, learner = origin(learner, checkpoint), learner, load(learner, trust=trust)
        data.check_checkpoint(str(path), checkpoint)
    module = learner if isinstance(learner, MetaModule) else None
    learner = module.learner if module else learner
    if not isinstance(learner, FewShotLearner | MetaRLLearner):
        raise InputError(f"{type(learner).__name__} is not a learner: give a checkpoint, a learner or an agent")
    kind = "decision processes" if isinstance(learner, MetaRLLearner) else "labelled examples"
    if data.gives != kind:
        raise InputError(
            f"{type(learner).__name__} learns from {kind}, and {type(data).__name__} gives {data.gives}: give other data"
        )
    if module is None:
        module = MetaRL(learner) if isinstance(learner, MetaRLLearner) else MetaTraining(learner)
    return module, made


def silent_trainer() -> Trainer:
    """A trainer on one device that writes and shows nothing."""
    return Trainer(
        devices=1,
        logger=False,
        inference_mode=False,  # adapting takes gradients
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def as_it_was(data: TaskData) -> Iterator[None]:
    """Give a data module its own size and number of test tasks back at the end."""
    sizes, count = data.test_sizes(None, None), data.test_count
    try:
        yield
    finally:
        data.test_count = count
        for size in sizes:
            data.resize_test(size)


@contextmanager
def at_its_stage(module: MetaModule) -> Iterator[None]:
    """Give a module the name of its tests back at the end."""
    stage = module.test_stage
    try:
        yield
    finally:
        module.test_stage = stage


def several(numbers: int | Sequence[int] | None) -> list[int] | None:
    """Return one number or several as a list."""
    return [numbers] if isinstance(numbers, int) else None if numbers is None else list(numbers)
