"""Reading of a training's log file, and trainings on the same few meta-batches."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor

from datamodules.sinusoid import Sinusoid
from lightning_meta.core import Episode
from lightning_meta.learners import MAML
from lightning_meta.nn import MLP
from lightning_meta.training import MetaTraining
from lightning_meta.training.forecast import Forecast, rate, spoken
from lightning_meta.training.progress import Limit, Memory, ProgressReport, tight, too_long
from support.commands import SINES
from support.runs import run

SILENT: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "inference_mode": False,
}
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers", "ignore:.*__len__")


class Seen(MetaTraining):
    """Keeps what it trains and validates on."""

    def __init__(self) -> None:
        super().__init__(MAML(MLP([1, 8]), 1, inner_steps=1))
        self.seen: dict[str, list[Tensor]] = {"train": [], "val": []}

    def training_step(self, batch: Episode, batch_idx: int) -> Tensor:  # type: ignore[override]
        self.seen["train"].append(batch.query.x)
        return super().training_step(batch, batch_idx)

    def validation_step(self, episode: Episode, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen["val"].append(episode.query.x)
        super().validation_step(episode, batch_idx, dataloader_idx)


def fit(**trainer: Any) -> Seen:
    module, data = Seen(), Sinusoid(meta_batch=2, epoch_batches=8, val_episodes=8)
    pl.Trainer(**SILENT, **trainer).fit(module, datamodule=data)
    return module


@pytest.mark.parametrize(("overfit", "batches"), [(2, 2), (0.5, 4)])
def test_overfitting_repeats_the_first_meta_batches(overfit: float, batches: int) -> None:
    usual, same = fit(max_epochs=1), fit(max_epochs=3, overfit_batches=overfit, num_sanity_val_steps=1)
    assert len(same.seen["train"]) == 3 * batches
    for number, x in enumerate(same.seen["train"]):
        assert torch.equal(x, usual.seen["train"][number % batches])
    validated = same.seen["val"][1:]  # the first is the sanity check's
    assert len(validated) == 3 * 2
    assert torch.equal(validated[0], usual.seen["val"][0])


class Clock:
    """A clock that a training sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Paced(pl.Callback):
    """Each step takes 10 seconds of a clock, and each batch of a validation 30."""

    def __init__(self, clock: Clock):
        self.clock = clock

    def on_train_batch_start(self, *_: Any) -> None:
        self.clock.now += 10

    def on_validation_batch_start(self, *_: Any) -> None:
        self.clock.now += 30


def reported(capsys: pytest.CaptureFixture[str], *callbacks: pl.Callback, **trainer: Any) -> list[str]:
    """Return the lines of two epochs of 8 steps and 4 batches of validation each."""
    clock = Clock()
    fit(max_epochs=2, callbacks=[ProgressReport(clock=clock), Paced(clock), *callbacks], **trainer)
    return [line for line in capsys.readouterr().out.splitlines() if "Trainer" not in line]


def test_a_log_file_tells_what_a_training_takes_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    first, *lines = reported(capsys)
    said, _, memory = first.partition("; ")
    assert said == "about 2 min for 2 epochs of 8 meta-batches at 10 s per step, and 2 validations to time"
    assert re.fullmatch(r"memory [\d.]+ [MG]iB of [\d.]+ [MG]iB", memory)
    patterns = [
        r"step 8 of 16, loss [\d.e-]+, mse [\d.e-]+, 10 s per step, about 80 s to go",
        r"step 8 of 16, validating",
        r"step 8 of 16, validating",
        r"a validation takes 2 min: about 3 min to go, with 1 more",
        r"step 14 of 16, loss [\d.e-]+, mse [\d.e-]+, 10 s per step, about 2 min to go",
        r"step 16 of 16, validating",
        r"step 16 of 16, validating",
    ]
    lines = [line for line in lines if not line.startswith("warning: only")]  # where other programs fill the memory
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line


def test_a_limit_of_time_that_is_too_short_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = reported(capsys, max_time={"seconds": 100})
    warned = [line for line in lines if line.startswith("warning: trainer.max_time")]
    assert len(warned) == 1
    assert re.search(r"ends this run in \d+ s, at about step 1\d of 16: raise it, or lower", warned[0])


@pytest.mark.parametrize("restarted", [False, True])
def test_the_end_of_a_slurm_job_is_said_where_nothing_starts_it_again(
    restarted: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    monkeypatch.setenv("LIGHTNING_META_PREEMPTIBLE", str(int(restarted)))
    warned = [line for line in reported(capsys) if "longer --time" in line]
    assert len(warned) == (not restarted)
    assert restarted or re.search(r"Slurm ends this job in \d+ s, at about step 1\d of 16: submit it", warned[0])


def test_a_training_that_may_end_early_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = reported(capsys, EarlyStopping("meta_val/mse", patience=9))
    assert any("unless EarlyStopping ends it before" in line for line in lines)


@pytest.mark.parametrize(
    ("trainer", "validations"),
    [
        ({"max_epochs": 3}, 3),
        ({"max_epochs": 5, "check_val_every_n_epoch": 2}, 2),
        ({"max_epochs": 2, "val_check_interval": 3}, 4),
        ({"max_epochs": 2, "val_check_interval": 0.5}, 4),
        ({"max_epochs": 2, "val_check_interval": 5, "check_val_every_n_epoch": None}, 3),
        ({"max_epochs": 2, "accumulate_grad_batches": 3}, 2),
        ({"max_epochs": 9, "max_steps": 13}, 1),
        ({"max_epochs": 2, "limit_val_batches": 0}, 0),
    ],
)
def test_as_many_validations_are_foretold_as_there_will_be(trainer: dict[str, Any], validations: int) -> None:
    told: list[int] = []

    class Foretold(ProgressReport):
        def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
            super().on_train_start(trainer)
            told.append(self.validations_left(trainer))

    class Counted(pl.Callback):
        count = 0

        def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
            self.count += not trainer.sanity_checking

    counted = Counted()
    fit(callbacks=[Foretold(), counted], **trainer)
    assert told == [validations]
    assert counted.count == validations


def test_a_forecast_leaves_out_the_first_step_and_counts_validations_apart() -> None:
    forecast = Forecast()
    forecast.end_step(101, 50.0)  # after a resume; the loader took its time
    assert not forecast.is_ready
    for step in range(102, 105):
        forecast.end_step(step, 50.0 + 2 * (step - 101))
    assert forecast.is_ready
    assert forecast.pace == 2.0
    assert forecast.left(200, 5) == 96 * 2.0
    forecast.begin_validation(56.0)
    forecast.end_validation(86.0)
    assert forecast.pace == 2.0
    forecast.end_step(105, 88.0)
    assert forecast.pace == 2.0
    assert forecast.left(200, 5) == 95 * 2.0 + 5 * 30.0


@pytest.mark.parametrize(
    ("memory", "warning"),
    [
        (Memory(2**30, 24 * 2**30, 10 * 2**30), None),
        (
            Memory(7 * 2**30, 15 * 2**29, 2**30),
            "that is 93% of the memory, and validation may need more: lower data.meta_batch",
        ),
        (
            Memory(2**30, 24 * 2**30, 2**30),
            "only 1.0 GiB of memory is free: end other programs, or lower data.meta_batch",
        ),
        (Memory(2**30, None, None), None),
    ],
)
def test_memory_that_may_run_out(memory: Memory, warning: str | None) -> None:
    assert (tight(memory) or "").startswith(warning or "")
    assert bool(tight(memory)) is bool(warning)


def test_time_that_runs_out() -> None:
    assert too_long(3000.0, Limit("trainer.max_time ends this run", 3600.0, "raise it"), 0, 100) is None
    assert too_long(50400.0, Limit("trainer.max_time ends this run", 43200.0, "raise it"), 500, 10_000) == (
        "trainer.max_time ends this run in 12 h, at about step 8,642 of 10,000: raise it, or lower trainer.max_epochs"
    )


@pytest.mark.parametrize(
    ("pace", "text"),
    [(30.2, "30 s per step"), (5.04, "5 s per step"), (0.0813, "12.3 steps/s"), (0.0005, "2,000 steps/s")],
)
def test_the_rate(pace: float, text: str) -> None:
    assert rate(pace) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (40, "40 s"), (720, "12 min"), (50400, "14 h")])
def test_a_span_of_time(seconds: int | float, text: str) -> None:
    assert spoken(seconds) == text


@pytest.mark.slow
def test_a_fit_without_a_terminal_tells_its_time_and_memory(tmp_path: Path) -> None:
    said = run(tmp_path, f"fit {SINES} --data.epoch_batches 40 --trainer.max_epochs 1")
    assert re.search(
        r"^about \d+ s for 1 epoch of 40 meta-batches at .*, and 1 validation to time; memory ", said, re.MULTILINE
    )
