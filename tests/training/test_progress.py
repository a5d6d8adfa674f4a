"""What a log file tells of a training, and trainings on the same few meta-batches."""

import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules.sinusoid import Sinusoid
from lightning_meta.core import Episode
from lightning_meta.learners import MAML
from lightning_meta.nn import MLP
from lightning_meta.training import MetaTraining
from lightning_meta.training.progress import ProgressLines, line

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


def test_a_log_file_tells_how_far_a_training_is(capsys: pytest.CaptureFixture[str]) -> None:
    fit(max_epochs=2, callbacks=[ProgressLines(seconds=0, first=0)])
    told = capsys.readouterr().out.splitlines()
    steps = [re.match(r"step (\d+) of 16, .* a (step|second), about \d+ s to go$", one) for one in told]
    assert [int(found[1]) for found in steps if found] == list(range(1, 17))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((21, 10_000, 5.0), "step 21 of 10,000, 5 s a step, about 14 h to go"),
        ((5_000, 10_000, 0.001), "step 5,000 of 10,000, 1,000 steps a second, about 5 s to go"),
        ((1, 1_000, 0.2), "step 1 of 1,000, 0.2 s a step, about 3 min to go"),
        ((7, float("inf"), 2.0), "step 7, 2 s a step"),
    ],
)
def test_the_line(given: tuple[int, float, float], told: str) -> None:
    assert line(*given) == told
