"""Images are bytes until they are on the device; there they become floats of the precision of the run."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from datamodules.images import ImageEpisodes
from datamodules.sampling.configured_size import ConfiguredSize
from lightning_meta.learners import ProtoNet
from lightning_meta.training import MetaTraining
from support.trainer import SILENT, of_lightning


@of_lightning
@pytest.mark.parametrize("shots", [1, (1, 3)], ids=["one size", "several sizes"])
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true", "bf16-mixed"])
def test_a_run_of_any_precision_takes_images(precision: str, shots: int | tuple[int, int], shard_root: Path) -> None:
    seen: list[torch.dtype] = []
    first = nn.Linear(784, 8)
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    module = MetaTraining(ProtoNet(nn.Sequential(nn.Flatten(), first)))
    counts = {"epoch_batches": 2, "val_episodes": 4, "test_episodes": 4}
    data = ImageEpisodes(str(shard_root), shots=shots, queries=2, sampler=ConfiguredSize(), **counts)
    trainer = pl.Trainer(**{**SILENT, "precision": precision})
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    assert {"32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16}.get(
        precision, torch.float32
    ) in seen
