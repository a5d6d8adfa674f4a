"""Measure a learner on an episode: the measurements that `test`, `validate` and `compare` share."""

import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pytorch_lightning import Trainer
from torch import Tensor

from lightning_meta.core import Episode, Examples, FewShotLearner, prediction_loss, score
from lightning_meta.nn.rows import measure_rows

FEW = 8  # support examples, in the place of queries that an episode has not


class Measured(NamedTuple):
    """One meta-batch under one learner. Seconds are wall-clock."""

    prediction: Float[Tensor, "tasks n out"]
    score: Float[Tensor, " tasks"]  # accuracy, or mean squared error
    loss: Float[Tensor, " tasks"]  # negative log-likelihood of a query in nats, or mean squared error
    adapt_seconds: float  # to make phi, a task
    query_seconds: float  # to predict one query by phi


def measure(learner: FewShotLearner, episode: Episode) -> Measured:
    """Adapt to each task of a meta-batch, predict its queries, and time both. The learner is in evaluation mode."""
    support, query = episode
    tasks, queries = query.y.shape[:2]
    with torch.no_grad():
        start = _now(query.x)
        phi = learner.adapt(support)
        adapted = _now(query.x)
        prediction = phi(query.x)
        done = _now(query.x)
        losses = [prediction_loss(p, y) for p, y in zip(prediction, query.y, strict=True)]
    return Measured(
        prediction,
        score(prediction, query.y),
        torch.stack(losses),
        (adapted - start) / tasks,
        (done - adapted) / (tasks * queries),
    )


def _now(x: Tensor) -> float:
    """Return the seconds of a clock after the device of x has finished its work."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()


def observe(learner: FewShotLearner, episode: Episode, agree: Callable[[bool], bool] = bool) -> None:
    """Measure on the first task of an episode, and note on the learner, whether its predictions for a query depend on the
    others (`transductive`) and whether they change from call to call (`noisy`). All queries of the task are predicted at
    once, for a backbone may read many rows otherwise than few. The learner is in evaluation mode. `agree` makes one fact of
    what several processes find."""
    support, query = (Examples(part.x[:1], part.y[:1]) for part in episode)
    rows = query.x[0]
    if len(rows) < 2:
        rows = torch.cat([support.x[0, :FEW], rows])
        rows = rows if len(rows) > 1 else rows.expand(2, *rows.shape[1:])
    with torch.no_grad():
        phi = learner.adapt(support)
        found = measure_rows(lambda x: phi(x.unsqueeze(0))[0], rows)
    learner.transductive, learner.noisy = agree(found.mixed), agree(found.noisy)


def protocols(
    learner: FewShotLearner, episode: Episode, agree: Callable[[bool], bool] = bool
) -> dict[str, FewShotLearner]:
    """The learner as it is configured and, where it has another protocol, the same theta under that one.

    The keys are `inductive` and `transductive`, by what is measured on an episode.
    """
    observe(learner, episode, agree)
    by_name = {predictions(learner): learner}
    for other in learner.protocols()[1:]:
        observe(other, episode, agree)
        by_name.setdefault(predictions(other), other)
    return by_name


def predictions(learner: FewShotLearner) -> str:
    """In words whether predictions for a query depend on the others, as measured."""
    return {None: "not measured", True: "transductive", False: "inductive"}[learner.transductive]


def score_name(episode: Episode) -> str:
    return "mse" if episode.query.y.is_floating_point() else "accuracy"


def shots(episode: Episode) -> int:
    """Support examples of a class, of classes with unequal numbers their rounded mean; of regression, those of the task."""
    y = episode.support.y
    return y.shape[1] if y.is_floating_point() else round(y.shape[1] / episode.support.ways)


def curve_steps(test_steps: int) -> list[int]:
    """Inner steps at which the adaptation curve is read: all up to 10, then 20, 50, 100, ... and the last."""
    if test_steps == 0:
        return []
    beyond = [k * 10**n for n in range(1, 6) for k in (2, 5, 10)]
    return [
        *range(min(10, test_steps) + 1),
        *(k for k in beyond if k < test_steps),
        *([test_steps] if test_steps > 10 else []),
    ]


def adaptation_curve(learner: FewShotLearner, episode: Episode, found: Measured) -> dict[int, Tensor]:
    """Scores [tasks] by the number of inner steps; after the last they are those that were `found`."""
    scores = {}
    with torch.no_grad():
        for steps in curve_steps(learner.test_steps):
            if steps == learner.test_steps:
                scores[steps] = found.score
            else:
                scores[steps] = score(learner.adapt_steps(episode.support, steps)(episode.query.x), episode.query.y)
    return scores


def by_presentation(prediction: Float[Tensor, "tasks n ways"], y: Int[Tensor, "tasks n"]) -> list[Tensor]:
    """Accuracy over the examples of a sequence that are the first of their class, over the second, and so on.

    Returns:
        Scores [tasks] by presentation, of those tasks that have a class which is presented as often.
    """
    right = (prediction.argmax(-1) == y).float()
    time_seen = (
        F.one_hot(y.long()).cumsum(1).gather(2, y.long().unsqueeze(2)).squeeze(2)
    )  # [tasks, n]: 1 for a class's first
    scores = []
    for k in range(1, int(time_seen.max()) + 1):
        mask = (time_seen == k).float()
        has = mask.any(1)
        scores.append((right * mask).sum(1)[has] / mask.sum(1)[has])
    return scores


def peak_memory(device: torch.device) -> tuple[int, str]:
    """Bytes at most in use so far, and of what they are."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "allocated on the GPU"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "resident set of the process so far"


def reserved_memory(device: torch.device) -> tuple[int, int, int]:
    """Return the bytes of a GPU that this process holds at most so far, all that it has, and those that are free now."""
    free, total = torch.cuda.mem_get_info(device)
    return torch.cuda.max_memory_reserved(device), total, free


def log_at(trainer: Trainer, steps: int | None) -> None:
    """Let an evaluation log its scores at the last of the `steps` that its checkpoint was trained for, as the training's own
    validation did, which counts from 0; otherwise Lightning logs them at step 0."""
    trainer.fit_loop.epoch_loop.on_load_checkpoint({"_batches_that_stepped": max(0, (steps or 0) - 1)})
