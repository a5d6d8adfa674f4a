"""The scores of a learner on a mixture of sources: on each, as if it were alone, and their mean, which chooses checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from datamodules.images import ImageEpisodes
from lightning_meta.evaluation.compare import compare
from lightning_meta.evaluation.evaluate import evaluate
from lightning_meta.learners import ProtoNet
from lightning_meta.reports.few_shot import FewShotResult
from lightning_meta.reports.tables import is_elsewhere
from lightning_meta.training import MetaTraining
from lightning_meta.training.checkpoint import origin
from lightning_meta.training.metrics import EpisodeMean
from support.mixtures import sources, write_numbered
from support.trainer import SILENT, of_lightning

SIZES: dict[str, Any] = {"ways": 3, "queries": 2, "val_episodes": 30, "test_episodes": 30}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scored")
    return write_numbered(folder, 0), write_numbered(folder, 1)


@pytest.fixture(scope="module")
def learner() -> ProtoNet:
    torch.manual_seed(0)
    linear = nn.Linear(36, 1, bias=False)
    linear.weight.data *= 255  # classes differ by 1 / 255
    return ProtoNet(nn.Sequential(nn.Flatten(), linear))


def validate(learner: ProtoNet, data: ImageEpisodes) -> dict[str, float]:
    trainer = pl.Trainer(**SILENT)
    trainer.validate(MetaTraining(learner), datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@of_lightning
def test_validation_scores_each_source_as_if_it_were_alone_and_their_mean(
    learner: ProtoNet, roots: tuple[Path, Path]
) -> None:
    found = validate(learner, ImageEpisodes(sources=sources(*roots), **SIZES))
    alone = [validate(learner, ImageEpisodes(str(root), **SIZES)) for root in roots]
    for name, one in zip("ab", alone, strict=True):
        for end in ("", "_ci95"):
            assert found[f"meta_val/source/{name}{end}"] == one[f"meta_val/accuracy{end}"]
    means, halves = ([one[f"meta_val/accuracy{end}"] for one in alone] for end in ("", "_ci95"))
    assert means[0] != means[1]
    assert found["meta_val/accuracy"] == pytest.approx(sum(means) / 2)
    assert found["meta_val/accuracy_ci95"] == pytest.approx((halves[0] ** 2 + halves[1] ** 2) ** 0.5 / 2)
    assert found["meta_val/error"] == pytest.approx(1 - sum(means) / 2)


@of_lightning
def test_shots_and_sources_are_curves_over_each_other(learner: ProtoNet, roots: tuple[Path, Path]) -> None:
    found = validate(learner, ImageEpisodes(sources=sources(*roots), val_shots=[1, 5], **SIZES))
    single = [validate(learner, ImageEpisodes(sources=sources(*roots), eval_shots=shots, **SIZES)) for shots in (1, 5)]
    for shots, one in zip((1, 5), single, strict=True):
        assert found[f"meta_val/shots/{shots}"] == pytest.approx(one["meta_val/accuracy"])
    for name in "ab":
        mean = sum(one[f"meta_val/source/{name}"] for one in single) / 2
        assert found[f"meta_val/source/{name}"] == pytest.approx(mean)


def test_the_interval_of_a_mean_over_sources_is_not_widened_by_their_difference() -> None:
    mean = EpisodeMean()
    mean.update(torch.tensor([0.1, 0.3]), 0)
    mean.update(torch.tensor([0.7, 0.9, 0.8, 0.8]), 1)
    value, ci95, episodes = mean.compute()
    errors = [torch.tensor([0.1, 0.3]).var() / 2, torch.tensor([0.7, 0.9, 0.8, 0.8]).var() / 4]
    assert float(value) == pytest.approx(0.5)
    assert float(ci95) == pytest.approx(1.96 * float(sum(errors)) ** 0.5 / 2, rel=1e-5)
    assert int(episodes) == 6


@of_lightning
def test_a_test_reports_each_source_with_its_interval(learner: ProtoNet, roots: tuple[Path, Path]) -> None:
    (found,) = evaluate(learner, ImageEpisodes(sources=sources(*roots), **SIZES))
    alone = [evaluate(learner, ImageEpisodes(str(root), **SIZES))[0].score for root in roots]
    each = found.curve("source")
    assert [(one.quantity.point, one.mean, one.ci95) for one in each] == [
        (name, one.mean, one.ci95) for name, one in zip("ab", alone, strict=True)
    ]
    assert found.score.mean == pytest.approx(sum(one.mean for one in alone) / 2)
    kept = json.loads(json.dumps(found.to_json()))
    assert kept["scores"]["source/a"] == [alone[0].mean, alone[0].ci95]
    assert kept["protocol"]["sources"] == f"each of a ({roots[0]}) + b ({roots[1]})"
    text = found.text()
    assert "accuracy on each source; above, their mean" in text
    assert f"  {'source b':16} {100 * alone[1].mean:8.2f} %  +- " in text
    assert isinstance(found, FewShotResult)
    assert found.cost
    assert found.cost.tasks_at_a_time == 4


@of_lightning
def test_a_comparison_is_on_each_source(learner: ProtoNet, roots: tuple[Path, Path]) -> None:
    data = ImageEpisodes(sources=sources(*roots), **SIZES)
    found = compare([learner], data)
    alone = compare([learner], [ImageEpisodes(str(root), **SIZES) for root in roots])
    assert [one.source for one in found.rounds] == list(map(str, roots))
    for ours, theirs in zip(found.rounds, alone.rounds, strict=True):
        assert [one.scores for one in ours.scored.values()] == [one.scores for one in theirs.scored.values()]
    assert data.sources is not None


def test_a_mixture_is_named_by_its_sets_and_was_trained_on_each_of_them() -> None:
    arguments: dict[str, Any] = {"root": None, "sources": {"a": {"root": "x/one"}, "b": {"root": "x/two/"}}}
    data = {"class_path": "datamodules.images.ImageEpisodes", "init_args": arguments}
    trained_on = origin("last.ckpt", {"hyper_parameters": {"data": data}}).trained_on
    assert trained_on == "one+two"
    assert not is_elsewhere(trained_on, "elsewhere/two")
    assert not is_elsewhere(trained_on, "two+one")
    assert is_elsewhere(trained_on, "x/three")
    assert is_elsewhere("x/one", "one+two")
