"""Evaluating, comparing and searching from Python give the numbers of the commands."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

import lightning_meta
from datamodules import ImageEpisodes, Sinusoid, Worlds
from lightning_meta.core import InputError
from lightning_meta.envs import Bandits
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import Conv4
from lightning_meta.reports.few_shot import FewShotResult
from lightning_meta.training import MetaRL
from lightning_meta.training.checkpoint import build
from support.commands import SINES, Commands
from support.packaged_agents import spec as agent_spec
from support.trainer import SILENT

pytestmark = pytest.mark.usefixtures("recwarn", "no_type_checker")  # Lightning warns of what a short run is


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capfd)


BEST = Path("runs/sinusoid-maml/version_0/checkpoints/best.ckpt")


def test_evaluate_gives_the_numbers_of_test_and_leaves_the_data_as_they_were(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    do(f"test {SINES} --shots 3 5 --ckpt_path {BEST}")
    files = [BEST.parent.parent / f"meta_test_1way_{k}shot.json" for k in (3, 5)]
    data = Sinusoid(shots=4, meta_batch=2, test_episodes=100)
    before = data.protocol("test")
    results = lightning_meta.evaluate(BEST, data, shots=[3, 5], episodes=4)
    assert data.protocol("test") == before
    for file, result in zip(files, results, strict=True):
        written, own = json.loads(file.read_text()), json.loads(json.dumps(result.to_json()))
        for name in ("scores", "learner", "predictions", "other", "stage"):
            assert own[name] == written[name], name
        assert own["protocol"]["shots"] == written["protocol"]["shots"]
        assert result.score.mean == written["scores"]["mse"][0]
        assert result.score.ci95 == written["scores"]["mse"][1]
        assert result.score.episodes == 4
    assert not list(Path().rglob("lightning_logs"))


def test_evaluate_takes_a_learner_an_agent_and_a_module(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), ways=3, queries=2, meta_batch=2, test_episodes=4)
    learner = ProtoNet(Conv4(1, 28, width=4)).train()
    (result,) = lightning_meta.evaluate(learner, data)
    assert isinstance(result, FewShotResult)
    assert 0 <= result.score.mean <= 1
    assert result.predictions.protocol == "inductive"
    assert learner.training
    assert "accuracy" in result.text()
    bandits = Worlds(Bandits(2, 5), meta_batch=2, test_tasks=4)
    agent = build(agent_spec("rl2", bandits.world))
    (alone,), (inside,) = (lightning_meta.evaluate(one, bandits) for one in (agent, MetaRL(agent)))
    assert [one.mean for one in alone.measurements] == [one.mean for one in inside.measurements]
    for wrong, message in ((bandits, "gives decision processes"), (data, "ways is 0")):
        with pytest.raises(InputError, match=message):
            lightning_meta.evaluate(learner, wrong, ways=0 if wrong is data else None)
    with pytest.raises(InputError, match="is not a learner"):
        lightning_meta.evaluate(torch.nn.Linear(1, 1), data)  # type: ignore[arg-type]


def test_compare_gives_the_numbers_of_compare(do: Commands, shard_root: Path) -> None:
    for learner in ("protonet", "matching"):
        task = f"--config glyphs.yaml --config {learner}.yaml --data.root {shard_root} --data.ways 3"
        task += " --data.queries 2 --data.eval_queries 2"
        few = "--data.meta_batch 2 --data.epoch_batches 2 --data.val_episodes 4 --trainer.max_epochs 1"
        do(f"fit {task} {few} --trainer.accelerator cpu --trainer.enable_progress_bar false")
    paths = sorted(Path().rglob("best.ckpt"))
    options = f"--on {shlex.quote(str(shard_root))} --ways 3 --shots 1 2 --queries 2 --episodes 6 --batch 2 --out both"
    do(f"compare {' '.join(map(str, paths))} {options}")
    data, calls = ImageEpisodes(str(shard_root), queries=2, meta_batch=2, seed=0), list[tuple[int, int]]()
    comparison = lightning_meta.compare(
        paths, data, ways=3, shots=[1, 2], episodes=6, progress=lambda *done: calls.append(done)
    )
    written = json.loads(Path("both.json").read_text())
    own = json.loads(json.dumps(comparison.to_json()))
    assert without_time(own) == without_time(written)
    assert calls[-1] == (12, 12)
    again = lightning_meta.compare([*paths, ProtoNet(Conv4(1, 28, width=4))], data, ways=3, episodes=4)
    assert [one.learner for one in again.learners] == ["glyphs-matching", "glyphs-protonet", "ProtoNet"]
    assert again.rounds[0].scored["ProtoNet"].mean <= 1
    with pytest.raises(InputError, match="differ in seed"):
        lightning_meta.compare(paths, [data, ImageEpisodes(str(shard_root), queries=2, meta_batch=2, seed=1)])


def without_time(found: dict[str, Any]) -> dict[str, Any]:
    for one in found["results"]:
        assert one.pop("adapt_seconds") > 0
        assert one.pop("query_seconds") > 0
    return found


def test_evaluate_logs_where_a_trainer_is_given(shard_root: Path, tmp_path: Path) -> None:
    trainer = pl.Trainer(**{**SILENT, "logger": CSVLogger(tmp_path, name="", version="run")})
    data = ImageEpisodes(str(shard_root), ways=3, queries=2, meta_batch=2, test_episodes=4)
    lightning_meta.evaluate(ProtoNet(Conv4(1, 28, width=4)), data, trainer=trainer)
    assert "meta_test/accuracy" in (tmp_path / "run/metrics.csv").read_text()
