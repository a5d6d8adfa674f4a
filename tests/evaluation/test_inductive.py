"""Inductive or transductive is measured: no learner is called inductive whose predictions depend on the other queries."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_meta.cli import main
from lightning_meta.core import Episode, FewShotLearner, InputError
from lightning_meta.learners import CNP, MAML, R2D2, ProtoNet
from lightning_meta.nn import MLP, Conv4
from lightning_meta.training.evaluation import observe, predictions, protocols
from support.episodes import separable_episode
from support.packaged_learners import SPECS, make, takes
from support.runs import GLYPHS, QUICK
from users_backbones import Centred, CentredIfMany, Follows, FunctionalNorm, Noise, NoStatistics, Own, Shares

BACKBONES = (Own, FunctionalNorm, NoStatistics, Centred, Follows, Shares, Noise)
SHAPE = (1, 6, 6)
BATCH_STATS = [name for name in SPECS if takes(name, "batch_stats")]


def episode(seed: int = 0) -> Episode:
    return separable_episode(3, 5, 2, 3, SHAPE, seed)


def learner_of(name: str, backbone: type[Own], **options: object) -> FewShotLearner:
    spec = {"class_path": f"users_backbones.{backbone.__name__}", "init_args": {"pixels": 36}}
    if name in BATCH_STATS:
        options = {"batch_stats": "transductive", "test_steps": 2} | options
    return make(name, spec, **options).eval()


@pytest.mark.parametrize("name", SPECS)
def test_what_every_learner_is_called_is_what_its_predictions_are(name: str) -> None:
    for backbone in BACKBONES:
        learner, batch = learner_of(name, backbone), episode()
        observe(learner, batch)
        expected = "inductive" if backbone in (Own, Noise) else "transductive"
        assert predictions(learner) == expected, backbone
        assert learner.noisy == (backbone is Noise), backbone


@pytest.mark.parametrize("name", BATCH_STATS)
def test_batch_stats_are_obeyed_without_a_module_that_normalises(name: str) -> None:
    for backbone in (FunctionalNorm, NoStatistics):
        support = learner_of(name, backbone, batch_stats="support")
        observe(support, episode())
        assert predictions(support) == "inductive"
        assert set(protocols(support, episode())) == {"inductive", "transductive"}
        with pytest.raises(InputError, match="choose support or transductive"):
            learner_of(name, backbone, batch_stats="running").adapt(episode().support)
    for choice in ("support", "running"):
        mixing = learner_of(name, Centred, batch_stats=choice)
        assert list(protocols(mixing, episode())) == ["transductive"], "whatever batch_stats says"


@pytest.mark.parametrize("backbone", [FunctionalNorm, Centred, NoStatistics])
@pytest.mark.parametrize("kind", [ProtoNet, R2D2, CNP])
def test_tasks_do_not_see_one_another_whatever_the_backbone_does(backbone: type[Own], kind: type) -> None:
    learner = kind(backbone(36), *([5] if kind is CNP else [])).double()
    batch = Episode(*(part._replace(x=part.x.double()) for part in episode()))
    for training in (True, False):
        learner.train(training)
        tasks = [
            Episode(*(part._replace(x=part.x[i : i + 1], y=part.y[i : i + 1]) for part in batch)) for i in range(3)
        ]
        alone = torch.stack([learner.loss(task).loss for task in tasks]).mean()
        assert_close(learner.loss(batch).loss, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["protonet", "maml", "cnp"])
def test_as_many_rows_are_measured_as_a_task_has_queries(name: str) -> None:
    """A backbone that mixes 75 rows, and not 15, is called so for tasks of 75; and no task sees another one's queries."""
    learner, many = learner_of(name, CentredIfMany), separable_episode(3, 5, 2, 15, SHAPE)
    observe(learner, episode())
    assert predictions(learner) == "inductive"
    observe(learner, many)
    assert predictions(learner) == "transductive"
    phi, middle = learner.adapt(many.support), many.query.x[:, :25]
    alone = [
        learner.adapt(many.support._replace(x=many.support.x[i : i + 1], y=many.support.y[i : i + 1])) for i in range(3)
    ]
    assert_close(phi(middle), torch.cat([alone[i](middle[i : i + 1]) for i in range(3)]), rtol=1e-3, atol=1e-4)


class Tracks(Own):
    """Moves statistics of its own in evaluation mode too."""

    def __init__(self, pixels: int = 36):
        super().__init__(pixels)
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))

    def after(self, z: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(z, self.get_buffer("mean"), self.get_buffer("var"), training=True).tanh()


def test_adapting_writes_no_statistics_in_evaluation_mode() -> None:
    learner = ProtoNet(Tracks()).eval()
    learner.adapt(episode().support)(episode().query.x)
    assert not learner.backbone.get_buffer("mean").any()
    learner.train().loss(episode())
    assert learner.backbone.get_buffer("mean").any()


def test_a_measurement_leaves_the_random_numbers_and_the_learner_alone() -> None:
    learner = MAML(Conv4(1, 16, 4), 5).eval()
    before, luck = {n: w.clone() for n, w in learner.state_dict().items()}, torch.get_rng_state()
    observe(learner, separable_episode(2, 5, 1, 2, (1, 16, 16)))
    assert_close(learner.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), luck)


@pytest.mark.parametrize("queries", [0, 1])
def test_a_task_of_one_query_or_none_can_be_measured(queries: int) -> None:
    for backbone, expected in ((MLP([36, 8]), "inductive"), (Centred(36), "transductive")):
        batch, learner = episode(), ProtoNet(backbone).eval()
        few = batch.query._replace(x=batch.query.x[:, :queries], y=batch.query.y[:, :queries])
        observe(learner, Episode(batch.support, few))
        assert predictions(learner) == expected


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.filterwarnings("ignore")
def test_reports_and_adapt_say_what_was_measured(
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    root = f"{GLYPHS} --data.root {workplace / 'shards' / 'glyphs'}".split()
    own = "--model.learner.init_args.backbone users_backbones.Centred"
    main(["fit", *root, *QUICK.split(), *own.split()])
    assert "transductive: a prediction depends on the other queries, for Centred mixes" in caplog.text
    capfd.readouterr()
    test = "--data.test_episodes 4 --ckpt_path best --trainer.accelerator cpu --trainer.enable_progress_bar false"
    main(["test", *root, *own.split(), *test.split()])
    assert "ProtoNet, transductive predictions" in capfd.readouterr().out
    (found,) = tmp_path.glob("runs/*/version_0/meta_test*.json")
    assert json.loads(found.read_text())["predictions"] == "transductive"
    ckpt = str(found.parent / "checkpoints" / "best.ckpt")
    try_out = workplace / "try"
    adapted = [
        "--support",
        str(try_out / "support"),
        "--query",
        str(try_out / "query"),
        "--batch",
        "3",
        "--out",
        "p.csv",
    ]
    trust = ["--trust", "users_backbones"]
    main(["adapt", "--ckpt", ckpt, *adapted, *trust])
    assert "transductive: a prediction depends on the other query images" in capfd.readouterr().out
    main(["compare", ckpt, "--on", str(workplace / "shards" / "glyphs"), "--episodes", "3", *trust])
    assert json.loads(Path("compare.json").read_text())["learners"][0]["predictions"] == "transductive"
