"""The measures of an evaluation: calibration, presentations, both ways to predict, cost; and where it shows."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from datamodules.images import ImageEpisodes
from datamodules.sinusoid import Sinusoid
from lightning_meta.core import Examples, FewShotLearner, Predictor, score
from lightning_meta.learners import MAML, MANN, ProtoNet
from lightning_meta.nn import MLP, Conv4
from lightning_meta.reports.results import scores as in_json
from lightning_meta.training import MetaTraining
from lightning_meta.training.episode_pictures import EpisodePictures
from lightning_meta.training.evaluation import adaptation_curve, by_presentation, measure, protocols
from lightning_meta.training.measurements import Measurement, Quantity, Stage, Summary
from lightning_meta.training.metrics import CalibrationError
from support.episodes import separable_episode
from support.packaged_learners import IMAGE, SPECS, make, takes
from support.runs import curve
from support.trainer import SILENT, of_lightning


@dataclass(frozen=True, eq=False)
class Even(Predictor):
    """The same logit for every class."""

    ways: int

    def __call__(self, x: Tensor) -> Tensor:
        return torch.zeros(*x.shape[:2], self.ways)


class Parrot(FewShotLearner):
    """Says a class it has heard in this sequence, and class 0 of one that it has not. It knows nothing else."""

    def adapt(self, support: Examples) -> Even:
        return Even(support.ways)

    def predict_in_turn(self, support: Examples) -> Tensor:
        one_hot = F.one_hot(support.y)
        heard = (one_hot.cumsum(1) - one_hot).gather(2, support.y.unsqueeze(2)) > 0
        return torch.where(heard, one_hot.float(), F.one_hot(torch.zeros_like(support.y), support.ways).float())


def calibration(probabilities: Tensor, y: Tensor) -> float:
    metric = CalibrationError()
    metric.update(probabilities.log().unsqueeze(0), y.unsqueeze(0))
    return float(metric.compute())


def test_the_calibration_error_of_a_case_by_hand() -> None:
    """Bins are 1/15 wide: 0.61 and 0.65 share (0.6, 0.667], 0.9 is alone. |1/2 - 0.63| * 2/3 + |1 - 0.9| * 1/3."""
    p = torch.tensor([[0.61, 0.39], [0.35, 0.65], [0.9, 0.1]])
    assert calibration(p, torch.tensor([0, 0, 0])) == pytest.approx(0.13 * 2 / 3 + 0.1 / 3, abs=1e-6)


def test_certainty_shares_the_last_bin() -> None:
    """Confidences 1, wrong, and 0.95, right: |1/2 - 0.975|. A bin for 1 alone would make it 0.525."""
    p = torch.tensor([[1.0, 0.0], [0.95, 0.05]])
    assert calibration(p, torch.tensor([1, 0])) == pytest.approx(0.475, abs=1e-6)


def test_calibration_is_that_of_torchmetrics_on_all_queries_however_they_come() -> None:
    logits, y = 2 * torch.randn(6, 50, 5), torch.randint(5, (6, 50))
    metric = CalibrationError()
    for part in (slice(0, 1), slice(1, 6)):
        metric.update(logits[part], y[part])
    expected = multiclass_calibration_error(logits.softmax(-1).flatten(0, 1), y.flatten(), num_classes=5, n_bins=15)
    assert float(metric.compute()) == pytest.approx(float(expected), abs=1e-6)


def test_accuracy_by_presentation_of_a_case_by_hand() -> None:
    y = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 1, 0, 1, 0, 0]])
    said = torch.tensor([[0, 0, 1, 1, 1, 0], [1, 0, 0, 1, 1, 0]])
    first, second, third = by_presentation(F.one_hot(said).float(), y)
    assert first.tolist() == [0.5, 1.0]
    assert second.tolist() == [0.5, 0.0]
    assert third.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", [name for name in SPECS if takes(name, "batch_stats")])
def test_what_normalises_by_a_batch_is_judged_both_ways_with_one_theta(name: str) -> None:
    episode = separable_episode(2, ways=5, shots=1, queries=3, shape=IMAGE)
    learner, other = (make(name, batch_stats=choice, test_steps=1).eval() for choice in ("transductive", "support"))
    other.load_state_dict(learner.state_dict())
    ways = protocols(learner, episode)
    assert list(ways) == ["transductive", "inductive"]
    assert ways["transductive"] is learner
    assert next(ways["inductive"].parameters()) is next(learner.parameters())
    assert torch.equal(measure(ways["inductive"], episode).prediction, measure(other, episode).prediction)
    assert not torch.equal(measure(learner, episode).prediction, measure(other, episode).prediction)
    assert list(protocols(other, episode)) == ["inductive", "transductive"]


@pytest.mark.parametrize(
    "learner",
    [
        ProtoNet(Conv4(1, 28, width=4)),
        MAML(Conv4(1, 28, width=4), 5, batch_stats="running"),
        MAML(MLP([784, 8]), 5, batch_stats="transductive"),
    ],
    ids=["protonet", "running statistics", "no batch norm"],
)
def test_others_have_one_way(learner: FewShotLearner) -> None:
    episode = separable_episode(2, ways=5, shots=1, queries=3)
    assert protocols(learner.eval(), episode) == {"inductive": learner}


def test_the_likelihood_of_knowing_nothing_is_the_log_of_ways() -> None:
    summary, episode = Summary(), separable_episode(3, ways=5, shots=1, queries=3)
    summary.add_measured(Quantity(Stage("meta_test"), "accuracy"), episode, measure(Parrot(), episode))
    measured = {one.metric: one for one in summary.compute()}
    assert measured["nll"].mean == pytest.approx(math.log(5))
    assert measured["accuracy"].mean == pytest.approx(0.2)
    assert measured["accuracy"].episodes == 3
    assert measured["ece"].mean == pytest.approx(0, abs=1e-6)
    assert 0 < measured["adapt_seconds"].mean < 1


def test_what_is_measured_is_called_the_same_in_curves_and_files() -> None:
    test = Stage("meta_test", "glyphs", "5way_1shot")
    accuracy = Quantity(test, "accuracy")
    assert accuracy.tag == f"{test.tag}/accuracy"
    assert Quantity(test, "adapt_seconds", "inductive").tag == f"{test.tag}/inductive/seconds/adapt"
    assert Quantity(test, "accuracy", curve="steps", point=3).label == "steps/3"
    assert test.file == "meta_test_glyphs"
    alone = Measurement(accuracy, 0.5)
    assert in_json((alone,)) == {"accuracy": (0.5, None)}


def test_the_adaptation_curve_is_the_score_after_each_number_of_steps() -> None:
    learner, episode = MAML(MLP([784, 8]), 5, test_steps=3).eval(), separable_episode(2, ways=5, shots=1, queries=3)
    curve = adaptation_curve(learner, episode, measure(learner, episode))
    assert list(curve) == [0, 1, 2, 3]
    for steps, scores in curve.items():
        expected = learner.adapt_steps(episode.support, steps)(episode.query.x)
        assert torch.equal(scores, score(expected, episode.query.y))


@of_lightning
@pytest.mark.filterwarnings("ignore:The dirpath", "ignore:Checkpoint directory")
def test_presentations_have_their_curve(shard_root: Path, tmp_path: Path) -> None:
    """Of four classes the parrot is right on one in four at first, always from the second time on."""
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    trainer = pl.Trainer(**{**SILENT, "logger": logger}, callbacks=[EpisodePictures()])
    data = ImageEpisodes(str(shard_root), ways=4, shots=3, queries=2, test_episodes=8)
    (found,) = trainer.test(MetaTraining(Parrot()), datamodule=data, verbose=False)
    assert [found[f"meta_test/presentation/{k}"] for k in (1, 2, 3)] == [0.25, 1, 1]
    assert "meta_test/presentation/4" not in found
    assert curve(tmp_path / "run" / "version_0", "meta_test/presentation_curve") == {1: 0.25, 2: 1, 3: 1}


@of_lightning
def test_a_regression_read_in_sequence_has_no_presentations() -> None:
    data = Sinusoid(shots=5, meta_batch=4, test_episodes=8)
    (found,) = pl.Trainer(**SILENT).test(MetaTraining(MANN(MLP([1, 4]), 1, rows=8)), datamodule=data, verbose=False)
    assert found["meta_test/mse"] > 0
    assert not any("presentation" in name for name in found)


@of_lightning
def test_a_test_tells_both_ways_and_the_cost_and_a_validation_does_not(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), ways=3, queries=2, val_episodes=8, test_episodes=8)
    trainer, module = pl.Trainer(**SILENT), MetaTraining(MAML(Conv4(1, 28, width=4), 3))
    (tested,) = trainer.test(module, datamodule=data, verbose=False)
    assert {"meta_test/accuracy", "meta_test/nll", "meta_test/ece", "meta_test/inductive/accuracy"} <= tested.keys()
    assert tested["meta_test/seconds/adapt"] > 0
    assert tested["meta_test/memory/peak"] > 50 * 2**20, "bytes of a process that holds torch"
    (validated,) = trainer.validate(module, datamodule=data, verbose=False)
    assert {name.split("/")[1] for name in validated} == {
        "loss",
        "accuracy",
        "accuracy_ci95",
        "loss_ci95",
        "error",
        "steps",
    }
