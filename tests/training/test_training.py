"""The training floor: intervals, adaptation curves, checkpoints that survive a kill and run no code."""

import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from datamodules.sinusoid import Sinusoid
from lightning_meta.core import Examples, InputError
from lightning_meta.learners import MAML, ProtoNet
from lightning_meta.nn import MLP
from lightning_meta.training import MetaTraining, load
from lightning_meta.training.checkpoint import read
from lightning_meta.training.evaluation import curve_steps
from lightning_meta.training.metrics import EpisodeMean
from lightning_meta.training.monitor import Cost
from support.trainer import SILENT, of_lightning


def test_the_interval_is_1_96_standard_errors_over_episodes() -> None:
    metric = EpisodeMean()
    metric.update(torch.tensor([0.2, 0.4]))
    metric.update(torch.tensor([0.9]))
    mean, ci95, episodes = metric.compute()
    assert float(mean) == pytest.approx(0.5)
    assert int(episodes) == 3
    assert float(ci95) == pytest.approx(1.96 * (0.13 / 3) ** 0.5)  # the sample variance is (.09 + .01 + .16) / 2


def test_of_a_single_episode_the_interval_is_unknown() -> None:
    metric = EpisodeMean()
    metric.update(torch.tensor([0.7]))
    assert metric.compute()[1].isnan()


@pytest.mark.parametrize(
    ("steps", "curve"),
    [
        (0, []),
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (10, [*range(11)]),
        (25, [*range(11), 20, 25]),
        (50, [*range(11), 20, 50]),
    ],
)
def test_the_adaptation_curve_is_read_at(steps: int, curve: list[int]) -> None:
    assert curve_steps(steps) == curve


@of_lightning
def test_validation_at_several_shots_is_the_mean_over_the_same_frozen_episodes() -> None:
    learner = MAML(MLP([1, 8]), 1, inner_lr=0.01)

    def validate(**data: Any) -> dict[str, float]:
        trainer = pl.Trainer(**SILENT)
        trainer.validate(MetaTraining(learner), datamodule=Sinusoid(val_episodes=50, **data), verbose=False)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}

    both, one, five = validate(val_shots=[1, 5], shots=7), validate(eval_shots=1), validate(eval_shots=5)
    assert both["meta_val/shots/1"] == pytest.approx(one["meta_val/mse"])
    assert both["meta_val/shots/5"] == pytest.approx(five["meta_val/mse"])
    assert both["meta_val/error"] == pytest.approx((one["meta_val/mse"] + five["meta_val/mse"]) / 2)


@pytest.mark.parametrize("wrong", [[], [0], [1, 1]])
def test_shots_of_validation_that_cannot_be(wrong: list[int]) -> None:
    with pytest.raises(InputError, match="val_shots is"):
        Sinusoid(val_shots=wrong)


@of_lightning
def test_a_meta_test_gives_the_curve_whose_end_is_the_score() -> None:
    learner = MAML(MLP([1, 8]), 1, inner_lr=0.01, test_steps=12)
    trainer = pl.Trainer(**SILENT)
    (found,) = trainer.test(MetaTraining(learner), datamodule=Sinusoid(test_episodes=50), verbose=False)
    curve = [found[f"meta_test/steps/{k}"] for k in (*range(11), 12)]
    assert curve[-1] == pytest.approx(found["meta_test/mse"])
    assert found["meta_test/error"] == found["meta_test/mse"]
    assert curve[0] > curve[4] > curve[-1]


@of_lightning
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_on_request(precision: Any) -> None:
    """An SGD of rate 1 then moves theta by no more than the bound."""
    learner = MAML(MLP([1, 8]), 1)
    before = torch.cat([w.detach().clone().flatten() for w in learner.parameters()])
    data = Sinusoid(epoch_batches=1)
    trainer = pl.Trainer(**SILENT, gradient_clip_val=0.01, precision=precision, limit_val_batches=0)
    trainer.fit(MetaTraining(learner, lambda theta: torch.optim.SGD(theta, lr=1.0)), datamodule=data)
    after = torch.cat([w.detach().flatten() for w in learner.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


SAVING = """
import sys, torch
from pathlib import Path
from lightning_meta.training.checkpoint import WholeFiles

files, path = WholeFiles(), Path(sys.argv[1])
files.save_checkpoint({"state_dict": {"w": torch.zeros(1)}}, path)
print("ready", flush=True)
while True:
    files.save_checkpoint({"state_dict": {"w": torch.ones(20_000_000)}}, path)
"""


@pytest.mark.slow
def test_a_kill_while_a_checkpoint_is_written_leaves_a_whole_one(tmp_path: Path) -> None:
    path, aside = tmp_path / "last.ckpt", tmp_path / "last.partial.ckpt"
    writer = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout
    with writer.stdout:
        assert writer.stdout.readline() == b"ready\n"
        deadline, written = time.monotonic() + 60, 0
        while written < 1_000_000 and time.monotonic() < deadline:
            with suppress(FileNotFoundError):  # whole, and moved
                written = aside.stat().st_size
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert written >= 1_000_000
    w = read(path)["state_dict"]["w"]
    assert torch.equal(w, torch.ones(20_000_000)) or torch.equal(w, torch.zeros(1))


@of_lightning
def test_a_resumed_run_goes_on_counting_what_it_cost(tmp_path: Path) -> None:
    def fit(epochs: int, **given: Any) -> dict[str, float]:
        trainer = pl.Trainer(**SILENT | {"max_epochs": epochs}, callbacks=[Cost()], limit_val_batches=0)
        module = MetaTraining(MAML(MLP([1, 4]), 1))
        trainer.fit(module, datamodule=Sinusoid(meta_batch=2, epoch_batches=2), **given)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["Cost"]

    first = fit(1)
    assert 0 < first["cpu_seconds"] < first["seconds"] * 100
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["callbacks"]["Cost"] = {"seconds": 1000.0, "cpu_seconds": 500.0}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    second = fit(2, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert 1000 < second["seconds"] < 1100
    assert 500 < second["cpu_seconds"] < 600


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('code of the checkpoint ran')",)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match="holds code"):
        load(tmp_path / "evil.ckpt")
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InputError, match="is not a checkpoint"):
        load(tmp_path / "pickle.ckpt")


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"
    torch.save({"state_dict": {"learner.w": torch.zeros(10_000)}}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match="truncated"):
        load(path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"class_path": "os.system", "init_args": {"command": "true"}}, "os is never trusted"),
        ({"class_path": "no.such.Learner"}, "not on the list .* --trust no"),
        ({"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 1}}, "not a FewShotLearner"),
    ],
)
def test_only_learners_are_built_from_a_checkpoint(spec: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"learner": spec}}, tmp_path / "some.ckpt")
    with pytest.raises(InputError, match=message):
        load(tmp_path / "some.ckpt")


def test_a_checkpoint_that_names_no_learner_loads_into_one_built_alike(tmp_path: Path) -> None:
    learner, x = ProtoNet(nn.Linear(3, 2)), torch.randn(1, 4, 3)
    support = Examples(x, torch.tensor([[0, 0, 1, 1]]))
    weights = {f"learner.{name}": w for name, w in learner.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "mine.ckpt")
    with pytest.raises(InputError, match="build the learner as it was built"):
        load(tmp_path / "mine.ckpt")
    again = load(tmp_path / "mine.ckpt", ProtoNet(nn.Linear(3, 2)))
    assert torch.equal(again.adapt(support)(x), learner.eval().adapt(support)(x))
    with pytest.raises(InputError, match=r"backbone.weight is \[2, 3\], the learner's \[2, 5\]"):
        load(tmp_path / "mine.ckpt", ProtoNet(nn.Linear(5, 2)))
