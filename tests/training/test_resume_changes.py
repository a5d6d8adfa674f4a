"""A run that goes on with other settings: what can be applied is, what cannot is refused, and both are said."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import LambdaCallback
from torch.optim import lr_scheduler as schedules

from datamodules.sinusoid import Sinusoid
from lightning_meta.learners import MAML
from lightning_meta.nn import MLP
from lightning_meta.training import MetaTraining
from lightning_meta.training.resume import Apply, Change, changes
from support.commands import SINES, Commands
from support.trainer import SILENT, of_lightning

pytestmark = [pytest.mark.usefixtures("recwarn", "no_type_checker"), of_lightning]
NAME = Path("runs/sinusoid-maml/version_0")


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capfd)


def adam(**args: Any) -> dict[str, Any]:
    return {"class_path": "torch.optim.Adam", "init_args": args}


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        ({"data": {"init_args": {"shots": 5}}}, {"data": {"init_args": {"shots": 1}}}, "data.shots is 5, was 1"),
        ({"model": {"optimizer": adam(lr=1)}}, {"model": {"optimizer": adam(lr=2)}}, "model.optimizer.lr is 1, was 2"),
        ({"model": {"scheduler": adam()}}, {"model": {"scheduler": None}}, "model.scheduler is Adam, was not given"),
        ({"trainer": {"precision": "bf16"}}, {"trainer": {"precision": None}}, "precision is 'bf16', was not given"),
        (
            {"data": {"init_args": {"augment": [{"class_path": "datamodules.Flip"}]}}},
            {"data": {"init_args": {"augment": []}}},
            "data.augment is another list than before",
        ),
        ({"trainer": {"callbacks": [adam()]}}, {"trainer": {"callbacks": []}}, "callbacks is another list than before"),
    ],
)
def test_a_change_is_said_by_its_key_and_both_values(now: Any, before: Any, said: str) -> None:
    (change,) = changes(now, before)
    assert str(change).endswith(said)


@pytest.mark.parametrize("given", ["init_args", "dict_kwargs"])
@pytest.mark.parametrize(("now", "before"), [({"b": 3}, {}), ({}, {"b": 3})])
def test_a_key_of_a_dictionary_that_is_new_or_gone_is_a_change(given: str, now: Any, before: Any) -> None:
    inside = [
        {"learner": {"class_path": "x.Y", "init_args": {}} | {given: {"sizes": {"a": 1} | one}}}
        for one in (now, before)
    ]
    (change,) = changes(*({"model": one} for one in inside))
    assert change.key.endswith("sizes.b")
    assert not change.is_free
    if given == "dict_kwargs":
        none = {"learner": {"class_path": "x.Y", "init_args": {}}}
        (change,) = changes({"model": none}, {"model": inside[0]})
        assert change.key.startswith("model.learner")


def test_an_argument_that_an_older_version_did_not_have_is_no_change() -> None:
    assert (
        changes({"model": {"optimizer": adam(lr=1, new=2)}, "trainer": {"x": 1}}, {"model": {"optimizer": adam(lr=1)}})
        == []
    )


def test_arguments_of_another_class_are_no_changes_of_their_own() -> None:
    other = {"class_path": "torch.optim.SGD", "init_args": {"lr": 9}}
    (change,) = changes({"model": {"optimizer": other}}, {"model": {"optimizer": adam(lr=1)}})
    assert change.key == "model.optimizer"


@pytest.mark.parametrize(
    ("key", "free", "outer"),
    [
        *((f"trainer.{key}", True, False) for key in ("max_epochs", "limit_val_batches", "devices", "logger.save_dir")),
        *((f"trainer.{key}", False, False) for key in ("precision", "limit_train_batches", "accumulate_grad_batches")),
        *((f"data.{key}", True, False) for key in ("num_workers", "test_episodes")),
        *((f"data.{key}", False, False) for key in ("seed", "meta_batch", "shots", "val_episodes", "world.arms")),
        ("model.learner.inner_lr", False, False),
        ("model.learner.vectorize", True, False),
        ("model.optimizer.betas", False, True),
        ("model.scheduler.gamma", False, True),
        ("model.optimizer", False, False),
        ("seed_everything", False, False),
    ],
)
def test_what_may_change(key: str, free: bool, outer: bool) -> None:
    change = Change(key, 1, 2)
    assert (change.is_free, change.is_outer) == (free, outer)


@pytest.mark.parametrize(("now", "free"), [("/elsewhere/set", True), ("shards/other", False)])
def test_a_set_that_was_moved_is_the_same_set(now: str, free: bool) -> None:
    assert Change("data.root", now, "shards/set").is_free is free


SCHEDULES = {
    "none": (None, None),
    "steps": (partial(schedules.StepLR, step_size=3, gamma=0.5), partial(schedules.StepLR, step_size=2, gamma=0.3)),
    "cosine": (partial(schedules.CosineAnnealingLR, T_max=8), partial(schedules.CosineAnnealingLR, T_max=20)),
    "milestones": (
        partial(schedules.MultiStepLR, milestones=[2, 4]),
        partial(schedules.MultiStepLR, milestones=[3, 5, 7]),
    ),
    "one cycle": (
        partial(schedules.OneCycleLR, max_lr=0.1, total_steps=20),
        partial(schedules.OneCycleLR, max_lr=0.3, total_steps=16),
    ),
    "linear": (partial(schedules.LinearLR, total_iters=4), partial(schedules.LinearLR, total_iters=9)),
}
STEPS, SAVED = 9, 4


def rates(save: Path, lr: float, schedule: Any, steps: int, apply: list[Change] | None = None) -> dict[int, Any]:
    """The outer rate and the first beta in each step; a checkpoint is written after them all."""
    seen: dict[int, Any] = {}

    def note(trainer: pl.Trainer, *_: Any) -> None:
        (group,) = trainer.optimizers[0].param_groups
        seen[trainer.global_step] = group["lr"], group["betas"][0]

    backbone = MLP([1, 4])
    learner = MAML(backbone, 1, inner_lr=0.01, inner_steps=1, batch_stats="support")
    module = MetaTraining(learner, partial(torch.optim.Adam, lr=lr), schedule)
    data = Sinusoid(meta_batch=2, epoch_batches=20)
    callbacks = [LambdaCallback(on_train_batch_start=note), *([Apply(apply)] if apply else [])]
    options: dict[str, Any] = SILENT | {"limit_val_batches": 0, "max_epochs": 2, "max_steps": steps}
    trainer = pl.Trainer(**options, callbacks=callbacks)
    trainer.fit(module, datamodule=data, ckpt_path=save if apply else None, weights_only=True)
    trainer.save_checkpoint(save)
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_changed_rate_and_schedule_act_as_if_they_had_been_there_from_the_start(name: str, tmp_path: Path) -> None:
    before, now = SCHEDULES[name]
    rates(tmp_path / "cut.ckpt", 0.01, before, SAVED)
    found = [Change("model.optimizer.lr", 0.05, 0.01), Change("model.scheduler.x", 1, 2)]
    went_on = rates(tmp_path / "cut.ckpt", 0.05, now, STEPS, found)
    whole = rates(tmp_path / "whole.ckpt", 0.05, now, STEPS)
    assert list(went_on) == list(range(SAVED, STEPS))
    for step, (rate, beta) in went_on.items():
        assert rate == pytest.approx(whole[step][0], rel=1e-6)
        assert beta == pytest.approx(whole[step][1])
    if before is None:
        state = torch.load(tmp_path / "cut.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0]
        assert state["lr"] == 0.05


def test_a_changed_outer_rate_is_used_said_and_kept_with_what_was_before(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    said = do(f"fit {SINES} --trainer.max_epochs 2 --ckpt_path last --model.optimizer.init_args.lr 0.5")
    assert "changed: model.optimizer.lr is 0.5, was 0.001" in said
    assert "changed: trainer.max_epochs is 2, was 1" in said
    checkpoint = torch.load(NAME / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.5
    kept = [yaml.safe_load((NAME / name).read_text()) for name in ("config.until_step_3.yaml", "config.yaml")]
    assert [config["model"]["optimizer"]["init_args"]["lr"] for config in kept] == [0.001, 0.5]
    assert "changed" not in do(
        f"fit {SINES} --trainer.max_epochs 2 --ckpt_path last --model.optimizer.init_args.lr 0.5"
    )


def test_what_is_refused_changes_no_file(do: Commands) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    whole = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for other, said in {
        "--model.optimizer SGD": "model.optimizer is SGD, was Adam",
        "--model.optimizer.init_args.amsgrad true": "which keeps max_exp_avg_sq",
        "--model.scheduler torch.optim.lr_scheduler.StepLR --model.scheduler.step_size 3": "model.scheduler is StepLR",
        "--model.learner.init_args.inner_lr 0.5": "model.learner.inner_lr is 0.5, was 0.01",
        "--data.meta_batch 5 --data.seed 3": "data.meta_batch is 5, was 2; data.seed is 3, was 0",
        "--seed_everything 4": "seed_everything is 4, was 0",
        "--trainer.precision bf16-mixed": "trainer.precision is 'bf16-mixed'",
        "--trainer.limit_train_batches 2": "trainer.limit_train_batches is 2",
    }.items():
        assert said in do.refused(f"fit {SINES} --trainer.max_epochs 2 --ckpt_path last {other}")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == whole
