"""A clear end for mistakes with worlds and agents: in a world of one's own, in what a run goes on with, in how it is shared."""

import json
import shlex
import warnings
from pathlib import Path

import pytest
import torch

from lightning_meta.cli import main
from support.mistakes import ends_with_one_message
from support.runs import write_yaml

FIT = "fit --config run.yaml"
FAULT = f"{FIT} --data.world.init_args.fault"
LATE = f"{FIT} --data.world wrong_worlds.Late --data.world.fault"
BY_LAST = "--ckpt_path runs/run/version_0/checkpoints/last.ckpt"
BY_BEST = "--ckpt_path runs/run/version_0/checkpoints/best.ckpt"
PEARL = "fit --config pearl.yaml"

MISTAKES = {
    f"{FAULT} 'state in place'": ["Faulty.step changes its state in place", "return new tensors"],
    f"{FAULT} 'task in place'": ["Faulty.step changes its task in place"],
    f'{FAULT} "torch\'s chance"': ["Faulty.task draws from a global random generator"],
    f"{FAULT} 'own generator'": ["Faulty.task, called twice with the same arguments, returns something else"],
    f"{FAULT} counting": ["Faulty.step, called twice", "stateful = True"],
    f"{FAULT} neighbours": [
        "Faulty.step returns something else for a task in a batch of two than for the task by itself"
    ],
    f"{FAULT} five": ["Faulty.step returned a tuple of 5", "Transition(state, observation, reward, terminated)"],
    f"{FAULT} 'float terminated'": ["the terminated of Faulty.step is torch.float32", "torch.bool"],
    f"{FAULT} 'reward of numpy'": ["the reward of Faulty.step is a numpy.ndarray", "torch tensor"],
    f"{FAULT} 'reward with an axis'": ["the reward of Faulty.step is a tensor [2, 2, 1]", "give one [2, 2]"],
    f"{FAULT} 'reward for a task'": ["the reward of Faulty.step is a tensor [2, 1]"],
    f"{FAULT} wide": ["the observation of Faulty.step is a tensor [2, 2, 4]", "give one [2, 2, 2]"],
    f"{FAULT} typing": ["Faulty.step fails with AttributeError", "wrong_worlds.py, line"],
    f"{FAULT} 'two actions'": ["Faulty.step fails with IndexError", "actions 0 to 2"],
    f"{FAULT} 'set horizon=None'": ["Faulty.horizon is not set"],
    f"{FAULT} 'set discrete=one'": ["Faulty.discrete is 1: set it to True"],
    f"{LATE} fails": ["Late.step fails at step 6 with IndexError", "wrong_worlds.py, line"],
    f"{LATE} 'task in place'": ["Late.step changes its task in place"],
    f"{LATE} counting": ["Late.step, tried twice"],
    f"{FIT} --data.meta_batch 8 --data.val_tasks 3 --trainer.devices 2": [
        "val_tasks is 3, which 2 processes cannot share",
        "multiple of 2",
    ],
    f"{PEARL} {BY_LAST} --data.world.init_args.horizon 7": ["data.world.horizon is 7, was 5", "start a new run"],
    f"{PEARL} {BY_LAST} --model.learner.init_args.capacity 31": ["capacity is 31, was 30", "start a new run"],
    f"{PEARL} {BY_BEST}": ["holds no replay", "--ckpt_path last"],
}


def config(learner: dict[str, object], world: dict[str, object], **data: int) -> dict[str, object]:
    checkpoint = "pytorch_lightning.callbacks.ModelCheckpoint"
    kept = [
        {"class_path": checkpoint, "init_args": {"filename": "best", "monitor": "meta_val/error"}},
        {"class_path": checkpoint, "init_args": {"filename": "last", "save_on_train_epoch_end": True}},
    ]
    return {
        "model": {"learner": learner},
        "data": {
            "class_path": "datamodules.worlds.Worlds",
            "init_args": {"world": world, "meta_batch": 4, "epoch_batches": 2, "val_tasks": 4, "test_tasks": 4, **data},
        },
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": {
                "class_path": "pytorch_lightning.loggers.TensorBoardLogger",
                "init_args": {"save_dir": "runs", "name": "run", "default_hp_metric": False},
            },
            "callbacks": kept,
        },
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a run of PEARL."""
    folder = tmp_path_factory.mktemp("place")
    agent = {"class_path": "lightning_meta.rl.RL2", "init_args": {"sequence": {"class_path": "lightning_meta.nn.GRU"}}}
    write_yaml(folder / "run.yaml", config(agent, {"class_path": "wrong_worlds.Faulty"}))
    sizes = {"updates": 1, "width": 8, "depth": 1, "gradient_steps": 2, "batch": 8, "context": 4, "capacity": 30}
    robot = {"class_path": "lightning_meta.envs.PointRobot", "init_args": {"horizon": 5}}
    pearl = {"class_path": "lightning_meta.rl.PEARL", "init_args": sizes}
    write_yaml(folder / "pearl.yaml", config(pearl, robot, train_tasks=4))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning and its parser
        patch.chdir(folder)
        patch.setattr("sys.argv", ["lightning-meta"])
        main(shlex.split(PEARL))
    return folder


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_ends_with_one_message_and_status_2(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    ends_with_one_message(command, MISTAKES[command], place, capfd)


def test_the_best_checkpoint_holds_no_replay_and_the_last_only_the_used_part(place: Path) -> None:
    checkpoints = place / "runs/run/version_0/checkpoints"
    kept = {
        name: torch.load(checkpoints / f"{name}.ckpt", weights_only=True)["state_dict"]["learner.replay._extra_state"]
        for name in ("best", "last")
    }
    assert kept["best"]["trajectories"] is None
    assert kept["last"]["trajectories"].shape == (4, 4, 5, 9), "of 30 lives that may be kept of a task"
    assert (checkpoints / "best.ckpt").stat().st_size < (checkpoints / "last.ckpt").stat().st_size


@pytest.mark.usefixtures("recwarn")
def test_a_report_has_the_world_the_budget_and_what_differs_from_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    main(shlex.split(f"test --config pearl.yaml {BY_BEST}"))
    said = capfd.readouterr().out
    assert "updates 1, envs 1, episodes 1, actions the likeliest" in said
    assert "world: class lightning_meta.envs.points.PointRobot" in said
    assert "horizon 5" in said
    assert "reward sparse" in said
    assert "trained at" not in said
    other = "--data.world.init_args.horizon 7 --data.world.init_args.reward dense"
    main(shlex.split(f"test --config pearl.yaml {BY_BEST} {other}"))
    said = capfd.readouterr().out
    assert "out of domain: trained at horizon 5, tested at 7; at reward sparse, tested at dense" in said
    found = max(place.rglob("meta_test.json"), key=lambda path: path.stat().st_mtime)
    result = json.loads(found.read_text())
    assert result["protocol"]["world"]["horizon"] == 7
    assert result["unlike_training"] == {"horizon": [5, 7], "reward": ["sparse", "dense"]}
    assert result["protocol"]["updates"] == 1
