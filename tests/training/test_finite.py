"""A number that is not finite ends training at the step where it appears; the checkpoints before it stay, and are finite."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.optim import SGD

from datamodules.sampling.meta_batches import Key
from datamodules.sinusoid import Sinusoid, SinusoidTasks
from lightning_meta.core import Episode, InputError
from lightning_meta.training import MetaTraining
from lightning_meta.training.finite import Diverged
from not_finite import AT, Line
from support.runs import lightning_meta, write_yaml

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers", "ignore:.*__len__")


class Broken(SinusoidTasks):
    """A task of the 4th meta-batch, or every one of a split, holds a number that is not finite."""

    def __init__(self, part: str = "", letter: str = "x", split: str = "train"):
        self.part, self.letter, self.split = part, letter, split

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        episode = super().draw(key, ways, shots, queries)
        if self.part and key.split == self.split and (self.split != "train" or key.index // 2 + 1 == AT):
            getattr(getattr(episode, self.part), self.letter)[0, 0] = math.nan
        return episode


class Data(Sinusoid):
    """Six meta-batches an epoch, of any tasks."""

    def __init__(self, tasks: SinusoidTasks):
        self.broken = tasks
        super().__init__(meta_batch=2, epoch_batches=6, val_episodes=2, test_episodes=2)

    def open(self) -> SinusoidTasks:
        return self.broken


def fit(
    folder: Path, learner: Line, tasks: SinusoidTasks | None = None, lr: float = 1e-3, epochs: int = 2, **trainer: Any
) -> pl.Trainer:
    """Fit, saved after every step."""
    every = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False)
    best = ModelCheckpoint(folder, "best", monitor="meta_val/error", enable_version_counter=False)
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "inference_mode": False}
    runner = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0, callbacks=[every, best], **silent, **trainer
    )
    module = MetaTraining(learner, lambda theta: SGD(theta, lr=lr))
    runner.fit(module, datamodule=Data(tasks or Broken()))
    return runner


def saved(folder: Path) -> dict[str, float]:
    """The one weight of each checkpoint."""
    files = {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.ckpt")}
    return {name: float(file["state_dict"]["learner.w"]) for name, file in files.items()}


def nan(w: Tensor) -> Tensor:
    return w * math.nan


def steep(w: Tensor) -> Tensor:
    """0, with an infinite slope."""
    return (w - w.detach()).sqrt()


SPOILT = {
    f"the loss is nan at step {AT}: lower the learning rates": nan,
    f"the loss is inf at step {AT}: ": lambda w: w.detach() + math.inf,
    f"the gradient is inf at step {AT}: ": steep,
    f"the gradient is nan at step {AT}: ": lambda w: torch.where(w > 1e9, w / (w - w), w * 0),
}


@pytest.mark.parametrize("message", SPOILT)
def test_a_step_that_is_not_finite_is_not_taken(message: str, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=message) as raised:
        fit(tmp_path, Line(SPOILT[message]))
    steps = saved(tmp_path)
    assert set(steps) == {f"step={step}" for step in range(1, AT)}
    assert all(math.isfinite(w) for w in steps.values())
    assert f"The last finite checkpoint is {tmp_path / f'step={AT - 1}.ckpt'}" in str(raised.value)


@pytest.mark.parametrize("part", ["support", "query"])
@pytest.mark.parametrize("letter", ["x", "y"])
def test_data_that_hold_a_nan_are_named(part: str, letter: str, tmp_path: Path) -> None:
    message = (
        f"the loss is nan at step {AT}: {part} {letter} of its meta-batch holds a number that is not finite, so mend"
    )
    with pytest.raises(Diverged, match=message):
        fit(tmp_path, Line(), Broken(part, letter))


def test_the_step_is_that_of_the_optimiser_where_gradients_accumulate(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="the loss is nan at step 2: "):
        fit(tmp_path, Line(nan, when=3), accumulate_grad_batches=2)
    assert set(saved(tmp_path)) == {"step=1"}


def test_weights_that_a_step_makes_infinite_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the largest weight is inf at step 1: .*No checkpoint was saved yet"):
        fit(tmp_path, Line(), lr=3e38)
    assert saved(tmp_path) == {}


def test_a_score_of_nan_is_no_best(tmp_path: Path) -> None:
    """The first validation is sound, in the second there are data that are not."""

    class Later(Broken):
        epoch = 0

        def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
            Later.epoch = key.epoch if key.split == "train" else Later.epoch
            self.part = "query" if Later.epoch == 1 else ""
            return super().draw(key, ways, shots, queries)

    with pytest.raises(Diverged, match=r"meta_val/loss is nan at step 12: "):
        fit(tmp_path, Line(), Later("query", "y", "val"))
    found = saved(tmp_path)
    assert found["best"] == found["step=6"]


def test_a_test_that_ends_in_nan_says_so() -> None:
    runner = pl.Trainer(logger=False, enable_progress_bar=False, inference_mode=False, accelerator="cpu")
    with pytest.raises(InputError, match="meta_test/mse is nan: the learner adapts to values that are not finite"):
        runner.test(MetaTraining(Line()), datamodule=Data(Broken("query", "y", "test")), verbose=False)


def test_gradients_that_16_bits_cannot_hold_are_the_scalers_to_skip(tmp_path: Path) -> None:
    """The loss is sound; scaled by 2^127 its gradient is not, until the scaler has come down."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    runner = fit(tmp_path, Line(), plugins=MixedPrecision("16-mixed", "cpu", scaler))
    assert runner.global_step == 12
    assert scaler.get_scale() < 2.0**127
    assert saved(tmp_path)["step=12"] != 1


def test_gradients_that_no_scale_mends_end_the_run(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(Diverged, match="the gradient is inf at step 51: "):
        fit(tmp_path, Line(steep, when=0), epochs=10, plugins=MixedPrecision("16-mixed", "cpu", scaler))


RUN = {
    "model": {"learner": {"class_path": "not_finite.OneOfTwo"}},
    "data": {"class_path": "datamodules.sinusoid.Sinusoid", "init_args": {"meta_batch": 4, "epoch_batches": 8}},
    "trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "enable_progress_bar": False, "max_epochs": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "message"),
    [("false", "the loss is inf at step 3: "), ("true", "the third meta-batch is damaged: write it again")],
)
def test_two_processes_end_together_with_one_message(error: str, message: str, tmp_path: Path) -> None:
    file = write_yaml(tmp_path / "two.yaml", RUN)
    done = lightning_meta(tmp_path, "fit", "--config", file, f"--model.learner.init_args.error={error}")
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("lightning-meta: error:")]
    assert len(said) == 1
    assert message in said[0]
    assert "Traceback" not in done.stderr
