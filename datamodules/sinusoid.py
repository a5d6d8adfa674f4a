"""Sinusoid regression: Finn et al. 2017 (arXiv:1703.03400), section 5.1.  y = A sin(x - b), one (A, b) a task."""

import math
from collections.abc import Sequence

import torch

from datamodules.episode_data import EpisodeData
from datamodules.sampling.episodes import EpisodeSize, Range, Tasks
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, flat_batch


class SinusoidTasks(Tasks):
    """A uniform in [0.1, 5], b uniform in [0, pi], x uniform in [-5, 5]; every split draws from the same distribution."""

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:  # noqa: ARG002  regression has no ways
        rng = key.rng()
        amplitude, phase = rng.uniform(0.1, 5.0), rng.uniform(0.0, math.pi)
        x = torch.from_numpy(rng.uniform(-5.0, 5.0, (1, shots + queries, 1))).float()
        y = amplitude * torch.sin(x - phase)
        return Episode(Examples(x[:, :shots], y[:, :shots]), Examples(x[:, shots:], y[:, shots:]))

    def draw_flat(self, key: Key, n: int) -> Episode:
        """Each point is of a sinusoid of its own."""
        rng = key.rng("flat")
        amplitude, phase, x = (
            torch.from_numpy(rng.uniform(low, high, (1, n, 1))).float()
            for low, high in ((0.1, 5.0), (0.0, math.pi), (-5.0, 5.0))
        )
        return flat_batch(Examples(x, amplitude * torch.sin(x - phase)))


class Sinusoid(EpisodeData):
    """Episodes of sinusoids. `shots` and `queries` are points of a task; `eval_*` those of validation and test. With
    `flat_batch` training reads batches of so many points, each of another sinusoid, `meta_batch` of them a step.
    `val_shots`: validate at each of these numbers of shots, `val_episodes` each, and score by their mean."""

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
        evaluation = train.replaced(1, eval_shots, eval_queries)
        splits = ("train", "val", "test")
        super().__init__(
            train,
            evaluation,
            splits,
            meta_batch,
            epoch_batches,
            val_episodes,
            test_episodes,
            seed,
            num_workers,
            flat_batch,
            val_shots,
        )

    @property
    def outputs(self) -> int:
        return 1

    def open(self) -> Tasks:
        return SinusoidTasks()
