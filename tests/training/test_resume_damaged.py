"""A checkpoint whose states are damaged ends `fit --ckpt_path` in one message, before the first step."""

import copy
import shlex
import warnings
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch

from lightning_meta.cli import main
from support.mistakes import ends_with_one_message

FIT = "fit --config sinusoid-maml.yaml --model.scheduler torch.optim.lr_scheduler.StepLR"
FIT += " --model.scheduler.step_size 2 --data.meta_batch 2 --data.epoch_batches 2 --data.val_episodes 2"
FIT += " --trainer.enable_progress_bar false --trainer.accelerator cpu --trainer.callbacks null"
TIMER = "--trainer.callbacks+=pytorch_lightning.callbacks.Timer"
DAMAGED: dict[str, dict[str, Any]] = {
    "no moments": {"optimizer_states": [{}]},
    "moments of another": {"optimizer_states": [{"state": {}, "param_groups": [{"params": [0, 1]}]}]},
    "moments of text": {"optimizer_states": ["x"]},
    "no loops": {"loops": {}},
    "loops of text": {"loops": {"fit_loop": {"state_dict": "x"}}},
    "no schedule": {"lr_schedulers": [3]},
    "no version": {"pytorch-lightning_version": "x"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's
        patch.chdir(folder)
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        patch.setattr("sys.argv", ["lightning-meta"])
        callback = "--trainer.callbacks+=pytorch_lightning.callbacks.ModelCheckpoint"
        main(shlex.split(f"{FIT} --trainer.max_epochs 1 {callback} --trainer.callbacks.dirpath {folder}/saved {TIMER}"))
    (folder / "config.yaml").touch()  # which Lightning writes before it restores
    return folder


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize("case", DAMAGED)
def test_states_that_are_damaged_end_in_one_message(
    case: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (saved,) = (place / "saved").iterdir()
    whole = torch.load(saved, weights_only=True)
    torch.save(whole | DAMAGED[case], place / "damaged.ckpt")
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    command = f"{FIT} --trainer.max_epochs 2 --trainer.logger false --ckpt_path damaged.ckpt"
    ends_with_one_message(command, ["damaged.ckpt", "damaged"], place, capfd)


GROUP = ("optimizer_states", 0, "param_groups", 0)
VALUES = [
    (("optimizer_states", 0, "state", 0, "exp_avg"), {"a": 1}),
    (("optimizer_states", 0, "state", 0, "exp_avg"), torch.zeros(3, 7)),
    ((*GROUP, "betas"), 2),
    ((*GROUP, "weight_decay"), {}),
    ((*GROUP, "amsgrad"), -1),
    ((*GROUP, "amsgrad"), True),
    ((*GROUP, "capturable"), "x"),
    (("lr_schedulers", 0, "step_size"), []),
    (("lr_schedulers", 0, "_step_count"), "x"),
    (("callbacks", "Timer", "time_elapsed", "train"), {"a": 1}),
]


def altered(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value, with what lies at a path in it replaced."""
    if not path:
        return new
    other = copy.copy(value)
    other[path[0]] = altered(value[path[0]], path[1:], new)
    return other


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize(("path", "value"), VALUES)
def test_a_state_that_would_fail_later_does_so_before_the_first_step(
    path: tuple[Any, ...], value: Any, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (saved,) = (place / "saved").iterdir()
    torch.save(altered(torch.load(saved, weights_only=True), path, value), place / "damaged.ckpt")
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    command = f"{FIT} {TIMER} --trainer.max_epochs 2 --trainer.logger false --ckpt_path damaged.ckpt"
    ends_with_one_message(command, ["damaged.ckpt", "damaged"], place, capfd)
