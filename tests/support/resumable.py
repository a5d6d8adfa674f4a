"""A run that can be killed and resumed at any step."""

from pathlib import Path
from typing import Any

import torch

EPOCHS, BATCHES, EVERY = 3, 8, 3  # `last` is written every 3 steps and after each epoch of 8


def config(callbacks: list[dict[str, Any]], dropout: float) -> dict[str, Any]:
    """MAML on sinusoids; its backbone has running statistics and, with dropout, draws noise in every step."""
    checkpoint = "pytorch_lightning.callbacks.ModelCheckpoint"
    last = {"filename": "last", "enable_version_counter": False}
    return {
        "model": {
            "learner": {
                "class_path": "lightning_meta.learners.MAML",
                "init_args": {
                    "backbone": {"class_path": "support.runs.NoisyMLP", "init_args": {"dropout": dropout}},
                    "batch_stats": "running",
                },
            },
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
            "scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 5}},
        },
        "data": {
            "class_path": "datamodules.sinusoid.Sinusoid",
            "init_args": {"meta_batch": 4, "epoch_batches": BATCHES, "val_episodes": 8},
        },
        "trainer": {
            "max_epochs": EPOCHS,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "callbacks": [
                {"class_path": checkpoint, "init_args": {**last, "every_n_train_steps": EVERY}},
                {"class_path": checkpoint, "init_args": {**last, "save_on_train_epoch_end": True}},
                *callbacks,
            ],
        },
    }


def state(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
