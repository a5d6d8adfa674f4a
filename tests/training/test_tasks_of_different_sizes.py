"""Training, validation and tests on meta-batches whose tasks differ in size."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.testing import assert_close

from datamodules.sampling.episodes import EpisodeSize, EpisodeStream
from datamodules.sampling.loader import MetaLoader
from lightning_meta.core import Episode, MetaBatch, equal_parts, score
from lightning_meta.evaluation.compare import compare
from lightning_meta.evaluation.evaluate import evaluate
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import MLP
from lightning_meta.reports.few_shot import FewShotResult
from support.paths import SUPPORT
from support.runs import python
from support.trainer import SILENT, of_lightning
from support.uneven_tasks import EPISODES, SIZES, UnevenTasks, data, module


def tasks(batches: list[MetaBatch]) -> list[Episode]:
    """The tasks of meta-batches one by one, those of a meta-batch in the order of their sizes."""
    parts = [part for batch in batches for part in equal_parts(batch)]
    return [
        Episode(*(type(half)(half.x[i : i + 1], half.y[i : i + 1]) for half in part))
        for part in parts
        for i in range(len(part.query.y))
    ]


def stream(**options: Any) -> EpisodeStream:
    return EpisodeStream(
        UnevenTasks(SIZES), "train", EpisodeSize(2, 1, 1), **{"episodes": 20, "meta_batch": 8, **options}
    )


def by_content(episodes: list[Episode]) -> set[bytes]:
    return {b"".join(t.numpy().tobytes() for half in one for t in half) for one in episodes}


@of_lightning
def test_a_run_takes_the_steps_of_the_mean_gradient_of_its_tasks() -> None:
    trained, by_hand, source = module(), module(), data()
    trainer = pl.Trainer(**{**SILENT, "limit_val_batches": 0})
    trainer.fit(trained, datamodule=source)
    optimizer = torch.optim.SGD(by_hand.learner.parameters(), lr=0.05)
    for batch in source.streams("train")[0]:
        optimizer.zero_grad()
        for task in tasks([batch]):
            (by_hand.learner.loss(task).loss / EPISODES["meta_batch"]).backward()
        optimizer.step()
    assert_close(trained.learner.state_dict(), by_hand.learner.state_dict(), rtol=1e-5, atol=1e-6)


@of_lightning
def test_every_task_weighs_the_same_in_the_scores() -> None:
    learner = ProtoNet(MLP([4, 8])).eval()
    (result,) = evaluate(learner, data())
    alone = tasks(list(data().streams("test")[0]))
    expected = torch.cat([score(learner.adapt(one.support)(one.query.x), one.query.y) for one in alone])
    assert len(expected) == EPISODES["test_episodes"]
    assert result.score.mean == pytest.approx(float(expected.mean()))
    assert result.score.episodes == len(expected)
    assert isinstance(result, FewShotResult)
    assert result.cost
    assert result.cost.tasks_at_a_time == 1.2  # 10 tasks of which two pairs are of one size, in 8 tensors


def test_a_comparison_scores_every_task() -> None:
    learner = ProtoNet(MLP([4, 8]))
    found = compare([learner], data())
    (one,) = found.rounds[0].scored.values()
    assert len(one.scores) == EPISODES["test_episodes"]
    assert one.mean == pytest.approx(evaluate(learner, data())[0].score.mean)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 3), (2, 1), (4, 0)])
def test_the_tasks_of_every_meta_batch_are_the_same_for_any_number_of_ranks_and_workers(
    world: int, workers: int
) -> None:
    ranks = [list(MetaLoader(stream(rank=rank, world=world), workers)) for rank in range(world)]
    for number, batch in enumerate(stream()):
        assert by_content(tasks([batch])) == by_content(tasks([rank[number] for rank in ranks]))


def test_a_resumed_loader_goes_on_with_the_next_meta_batch() -> None:
    first = MetaLoader(stream())
    next(iter(first))
    second = MetaLoader(stream())
    second.load_state_dict(first.state_dict())
    assert [by_content(tasks([b])) for b in second] == [by_content(tasks([b])) for b in list(MetaLoader(stream()))[1:]]


@pytest.mark.slow
def test_two_processes_end_with_the_theta_and_the_scores_of_one(tmp_path: Path) -> None:
    """Each has tasks of sizes that the other has not, so curves have points that only one of them knows."""
    script = SUPPORT / "uneven_tasks.py"
    for devices in ("1", "2"):
        done = python(tmp_path, str(script), devices, f"{devices}.pt")
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{devices}.pt", weights_only=True) for devices in (1, 2))
    assert_close(two, one, rtol=1e-6, atol=1e-6)
    assert "meta_test/presentation/5" in one["mann"]["tested"]
