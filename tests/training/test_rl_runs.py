"""Agents from the command line: trained, tested, killed and gone on with, refused."""

import json
import os
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_meta.cli import main
from lightning_meta.core import MDPs
from lightning_meta.training import load
from support.resumable import BATCHES, EPOCHS, EVERY, state
from support.runs import curve, lightning_meta, write_yaml


def config(callbacks: list[dict[str, Any]]) -> dict[str, Any]:
    """An agent with buffers of its own, on known tasks."""
    checkpoint = "pytorch_lightning.callbacks.ModelCheckpoint"
    last = {"filename": "last", "enable_version_counter": False}
    return {
        "model": {
            "learner": {"class_path": "agents.Favourite"},
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.05}},
            "scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 5}},
        },
        "data": {
            "class_path": "datamodules.worlds.Worlds",
            "init_args": {
                "world": {"class_path": "lightning_meta.envs.Bandits", "init_args": {"arms": 3, "horizon": 4}},
                "meta_batch": 6,
                "epoch_batches": BATCHES,
                "train_tasks": 10,
                "val_tasks": 8,
                "test_tasks": 20,
            },
        },
        "trainer": {
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "callbacks": [
                {"class_path": checkpoint, "init_args": {"filename": "best", "monitor": "meta_val/error"}},
                {"class_path": checkpoint, "init_args": {**last, "every_n_train_steps": EVERY}},
                {"class_path": checkpoint, "init_args": {**last, "save_on_train_epoch_end": True}},
                {"class_path": "lightning_meta.training.monitor.Throughput"},
                {"class_path": "lightning_meta.training.episode_pictures.EpisodePictures"},
                *callbacks,
            ],
        },
    }


def fit(folder: Path, *arguments: str, kill: dict[str, Any] | None = None) -> Path:
    """Fit below `folder`, with or without a kill on the way, and return the run's folder."""
    folder.mkdir(exist_ok=True)
    callbacks = [{"class_path": "support.runs.Kill", "init_args": kill}] if kill else []
    file = write_yaml(folder / "run.yaml", config(callbacks))
    done = lightning_meta(folder, "fit", "--config", file, *arguments)
    assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
    return folder / "runs" / "run" / "version_0"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("unbroken"))


@pytest.mark.slow
def test_a_killed_run_continues_like_an_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    fit(tmp_path, kill={"step": 11})  # two meta-batches after the last that was saved
    for file in (tmp_path / "runs/run/version_0").glob("events*"):
        file.unlink()  # so that only the resumed run's points are read
    run = fit(tmp_path, "--ckpt_path", "last")
    for name in ("meta_train/return", "meta_train/steps"):
        whole = curve(unbroken, name)
        assert len(whole) == EPOCHS * BATCHES
        assert curve(run, name) == {step: value for step, value in whole.items() if step >= 9}
    weights = state(run)
    assert weights["learner.met"] == EPOCHS * BATCHES
    assert all(torch.equal(weight, state(unbroken)[name]) for name, weight in weights.items())


@pytest.fixture
def _beside(unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the folder of the run."""
    monkeypatch.chdir(unbroken.parents[2])
    monkeypatch.setattr("sys.argv", ["lightning-meta"])


@pytest.mark.usefixtures("_beside")
def test_a_test_prints_and_writes_returns_with_intervals(
    unbroken: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,  # noqa: ARG001
) -> None:
    main(shlex.split("test --config run.yaml --ckpt_path best"))
    said = capfd.readouterr().out
    assert "meta_test: data Bandits, split test, tasks 20, seed 0" in said
    assert "Favourite, judged by the return of its adapted policy" in said
    found = json.loads((unbroken / "meta_test.json").read_text())
    for name in ("return", "total", "updates/0", "updates/1"):
        mean, ci95 = found["scores"][name]
        assert f"{mean:.3f}  +- {ci95:.3f}" in said
    points = curve(unbroken, "meta_test/adaptation_curve")
    assert points == {k: pytest.approx(found["scores"][f"updates/{k}"][0]) for k in (0, 1)}


@pytest.mark.usefixtures("_beside")
def test_a_checkpoint_loads_as_an_agent(unbroken: Path) -> None:
    from lightning_meta.envs import Bandits

    agent = load(unbroken / "checkpoints/last.ckpt", trust=["agents"])
    seeds = torch.arange(5)
    assert agent.returns(MDPs(Bandits(3, 4), seeds, seeds)).shape == (5, 2)


WORLD = "--config bandits.yaml --model.learner"
MISTAKES = {
    f"fit {WORLD} lightning_meta.learners.ProtoNet": ["ProtoNet learns from labelled examples", "decision processes"],
    "fit --config sinusoid.yaml --model.learner agents.Favourite": [
        "Favourite is an agent",
        "Sinusoid gives labelled",
    ],
    f"fit {WORLD} agents.Favourite --data.world.arms 0": ["arms is 0"],
    f"fit {WORLD} agents.Favourite --data.world.armz 3": ["Bandits has no argument 'armz'", "arms"],
    f"fit {WORLD} agents.Favourite --data.train_tasks 0": ["train_tasks is 0"],
    f"fit {WORLD} agents.Continuous": ["Continuous as configured cannot act in Bandits", "5 discrete actions"],
    f"fit {WORLD} agents.Favourite --trainer.gradient_clip_val 1": ["model.clip"],
    f"fit {WORLD} agents.Favourite --trainer.accumulate_grad_batches 2": ["enlarge data.meta_batch"],
    f"fit {WORLD} test_meta_rl.Stepping --trainer.precision bf16-mixed": ["too coarse", "choose 32"],
    f"fit {WORLD} test_meta_rl.Stepping --model.clip 1": ["leave model.clip out"],
    f"fit {WORLD} agents.Favourite --trainer.precision bf16-true": ["3 digits", "choose 32 or bf16-mixed"],
    "fit --config bandits.yaml --config rl2.yaml --data.meta_batch 12": ["12 tasks", "8 minibatches"],
    "fit --config point_robot.yaml --config pearl.yaml --data.train_tasks 10 --model.learner.capacity 1": [
        "at least as"
    ],
    f"fit {WORLD} agents.Favourite --model.scheduler torch.optim.lr_scheduler.ReduceLROnPlateau": ["waits for a score"],
    "test --config run.yaml --ckpt_path best --shots 1": ["--shots", "Worlds has not"],
    "test --config run.yaml --ckpt_path best --data.world.arms 4": ["start is [3], the learner's [4]"],
    "compare {ckpt} --on sinusoid --trust agents": [
        "Favourite, an agent",
        "compare is for learners of labelled examples",
    ],
    "adapt --ckpt {ckpt} --support . --query . --trust agents": ["Favourite, an agent", "is for learners of"],
}


@pytest.mark.usefixtures("_beside")
@pytest.mark.parametrize("command", MISTAKES)
@pytest.mark.filterwarnings("ignore:You passed `Trainer")
def test_a_mistake_ends_with_one_message(
    command: str,
    unbroken: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,  # noqa: ARG001  Lightning warns of what we then refuse
) -> None:
    before = sorted(os.listdir("."))
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command.format(ckpt=unbroken / "checkpoints/last.ckpt")))
    printed = capfd.readouterr().err
    assert ended.value.code == 2, printed
    assert len([line for line in printed.splitlines() if line.startswith("lightning-meta: error:")]) == 1
    assert "Traceback" not in printed
    for part in MISTAKES[command]:
        assert part in printed
    assert sorted(os.listdir(".")) == before
