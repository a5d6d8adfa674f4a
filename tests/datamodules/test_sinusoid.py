"""Sinusoid tasks are those of Finn et al. 2017, section 5.1."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sinusoid import Sinusoid, SinusoidTasks
from lightning_meta.core import Episode

TASKS = 4000
LARGEST_GAP = 2.2 / TASKS**0.5  # between a uniform sample's distribution function and the true one: 1 in 8,000


@pytest.fixture(scope="module")
def episode() -> Episode:
    (batch,) = EpisodeStream(SinusoidTasks(), "train", EpisodeSize(1, 8, 6), TASKS, TASKS)
    return batch


def waves(x: Tensor) -> Tensor:
    return torch.cat([x.double().sin(), x.double().cos()], dim=-1)


def fit(episode: Episode) -> Tensor:
    """[tasks, 2, 1]: A cos b and -A sin b by least squares on the support, as A sin(x - b) = A cos b sin x - A sin b cos x."""
    return torch.linalg.lstsq(waves(episode.support.x), episode.support.y.double()).solution


def uniform_gap(values: Tensor, low: float, high: float) -> float:
    """The largest distance of the distribution function of `values` from that of the uniform one on [low, high]."""
    ranks: NDArray[np.float64] = np.linspace(0, 1, values.numel())
    return float(np.abs((np.sort(values.flatten().numpy()) - low) / (high - low) - ranks).max())


def test_shapes_are_tasks_points_one(episode: Episode) -> None:
    (support, query), shots, queries = episode, (TASKS, 8, 1), (TASKS, 6, 1)
    assert (support.x.shape, support.y.shape, query.x.shape, query.y.shape) == (shots, shots, queries, queries)
    assert {tensor.dtype for part in episode for tensor in part} == {torch.float32}


def test_targets_are_one_sine_wave_a_task(episode: Episode) -> None:
    """The wave through the support passes through every query."""
    support, query = episode
    coefficients = fit(episode)
    assert torch.allclose(waves(support.x) @ coefficients, support.y.double(), rtol=0, atol=1e-5)
    spread = torch.linalg.svdvals(waves(support.x))[:, -1] > 0.1  # the points tell the wave
    assert spread.float().mean() > 0.99
    error = (waves(query.x) @ coefficients - query.y).abs()[spread]
    assert error.max() < 1e-4


def test_amplitude_phase_and_points_are_uniform_within_the_papers_bounds(episode: Episode) -> None:
    a, c = fit(episode)[..., 0].unbind(-1)
    amplitude, phase = torch.hypot(a, c), torch.atan2(-c, a)
    assert amplitude.min() > 0.1 - 1e-4
    assert amplitude.max() < 5 + 1e-4
    assert phase.min() > -1e-3
    assert phase.max() < math.pi + 1e-3
    assert uniform_gap(amplitude, 0.1, 5) < LARGEST_GAP
    assert uniform_gap(phase, 0, math.pi) < LARGEST_GAP
    assert abs(float(torch.corrcoef(torch.stack([amplitude, phase]))[0, 1])) < 4 / TASKS**0.5
    for part in episode:
        assert part.x.abs().max() <= 5
        assert uniform_gap(part.x[:, 0], -5, 5) < LARGEST_GAP


def test_points_and_tasks_are_all_different(episode: Episode) -> None:
    assert len(torch.cat([part.x for part in episode], 1).unique()) > 0.99 * TASKS * 14
    assert len(fit(episode)[:, 0, 0].unique()) == TASKS


def test_streams_of_the_splits_differ() -> None:
    data = Sinusoid(meta_batch=4, epoch_batches=3, val_episodes=12, test_episodes=12)
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    tasks = [fit(batch)[:, 0, 0] for loader in loaders for batch in loader]
    assert [len(batch) for batch in tasks] == [4] * 9
    assert len(torch.cat(tasks).unique()) == 36


def test_evaluation_may_have_points_of_its_own() -> None:
    data = Sinusoid(shots=3, queries=4, eval_shots=7, eval_queries=(50, 60), meta_batch=2, epoch_batches=1)
    train, val = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert (train.support.x.shape, train.query.x.shape) == ((2, 3, 1), (2, 4, 1))
    assert val.support.x.shape == (2, 7, 1)
    assert 50 <= val.query.x.shape[1] <= 60
