"""Sinusoid regression: Finn et al. 2017 (arXiv:1703.03400), section 5.1.  y = A sin(x - b), one (A, b) per task."""

import math
from collections.abc import Sequence

import torch

from datamodules.episode_data import EpisodeData
from datamodules.sampling.episode_size import EpisodeSize, Range
from datamodules.sampling.episodes import Tasks
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, flat_batch


class SinusoidTasks(Tasks):
    """Sinusoids y = A sin(x - b), with A uniform in [0.1, 5], b in [0, pi] and x in [-5, 5].

    Every split draws from the same distribution.
    """

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:  # noqa: ARG002  regression has no ways
        rng = key.rng()
        amplitude, phase = rng.uniform(0.1, 5.0), rng.uniform(0.0, math.pi)
        x = torch.from_numpy(rng.uniform(-5.0, 5.0, (1, shots + queries, 1))).float()
        y = amplitude * torch.sin(x - phase)
        return Episode(Examples(x[:, :shots], y[:, :shots]), Examples(x[:, shots:], y[:, shots:]))

    def draw_flat(self, key: Key, n: int) -> Episode:
        """Draw n points, each from a sinusoid of its own."""
        rng = key.rng("flat")
        amplitude, phase, x = (
            torch.from_numpy(rng.uniform(low, high, (1, n, 1))).float()
            for low, high in ((0.1, 5.0), (0.0, math.pi), (-5.0, 5.0))
        )
        return flat_batch(Examples(x, amplitude * torch.sin(x - phase)))


class Sinusoid(EpisodeData):
    """Episodes of sinusoid regression: y = A sin(x - b), with an amplitude A and a phase b per task.

    Args:
        shots: Support points per training task, a number or a range [first, last].
        queries: Query points per training task, a number or a range.
        eval_shots: Support points per validation or test task; by default as in training.
        eval_queries: Query points per validation or test task; by default as in training.
        meta_batch: Tasks per meta-batch, over all devices.
        epoch_batches: Meta-batches per epoch.
        val_episodes: Tasks per validation.
        test_episodes: Tasks of the test.
        seed: Seed of the sequence of tasks, including the fixed ones of validation and test.
        num_workers: Processes that load data beside the training process.
        flat_batch: Points per flat batch, each from a sinusoid of its own, for pretraining: training then reads
            `meta_batch` flat batches per step in place of tasks; 0 for tasks.
        val_shots: Validate at each of these numbers of shots, with `val_episodes` tasks each, and score by the mean.
    """

    def __init__(
        self,
        shots: Range = 10,
        queries: Range = 10,
        eval_shots: Range | None = None,
        eval_queries: Range | None = None,
        meta_batch: int = 25,
        epoch_batches: int = 1000,
        val_episodes: int = 1000,
        test_episodes: int = 2000,
        seed: int = 0,
        num_workers: int = 0,
        flat_batch: int = 0,
        val_shots: Sequence[int] | None = None,
    ):
        train = EpisodeSize(1, shots, queries)
        super().__init__(
            train=train,
            evaluation=train.replaced(None, eval_shots, eval_queries),
            splits=("train", "val", "test"),
            meta_batch=meta_batch,
            epoch_batches=epoch_batches,
            val_episodes=val_episodes,
            test_episodes=test_episodes,
            seed=seed,
            num_workers=num_workers,
            flat_batch=flat_batch,
            val_shots=val_shots,
        )

    @property
    def outputs(self) -> int:
        return 1

    @property
    def source(self) -> str:
        return "Sinusoid"

    def open(self) -> Tasks:
        return SinusoidTasks()
