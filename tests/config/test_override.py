"""A trial that goes on from another's checkpoint under a configuration of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Callback, Trainer

from lightning_meta.search.override import TakeOver
from lightning_meta.search.trial_processes import take_place
from lightning_meta.search.worker import fit

pytestmark = pytest.mark.usefixtures("recwarn")  # of Lightning's and jsonargparse's


class Seen(Callback):
    """The rates that the first meta-batch is trained with."""

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        if not hasattr(self, "lr"):
            (group,) = trainer.optimizers[0].param_groups
            self.lr, self.eps = group["lr"], group["eps"]
            self.rates = [rate.clone() for rate in module.learner.descent.rates]
            self.shots = trainer.datamodule.sizes["train"].shots
            self.momentum = {
                name: state["exp_avg"].norm() for name, state in enumerate(trainer.optimizers[0].state.values())
            }


class Keep(Callback):
    def __init__(self, path: Path):
        self.path = path

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:  # noqa: ARG002
        trainer.save_checkpoint(self.path)


def config(
    epochs: int, inner_lr: float, lr: float, shots: int, gamma: float = 0.1, learned: str = "layer"
) -> dict[str, Any]:
    backbone = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [1, 8]}}
    learner = {"backbone": backbone, "inner_lr": inner_lr, "learn_inner_lr": learned, "multi_step": 0, "inner_steps": 1}
    return {
        "seed_everything": 0,
        "model": {
            "learner": {"class_path": "lightning_meta.learners.MAMLPlusPlus", "init_args": learner},
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": lr}},
            "scheduler": {
                "class_path": "torch.optim.lr_scheduler.StepLR",
                "init_args": {"step_size": 4, "gamma": gamma},
            },
        },
        "data": {
            "class_path": "datamodules.sinusoid.Sinusoid",
            "init_args": {"shots": shots, "meta_batch": 2, "epoch_batches": 4, "val_episodes": 2, "val_shots": [1]},
        },
        "trainer": {
            "max_epochs": epochs,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "accelerator": "cpu",
        },
    }


def test_what_changed_since_the_checkpoint_takes_effect_at_once_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a run without a logger writes its configuration here
    path = tmp_path / "trial.ckpt"
    fit(config(1, inner_lr=0.01, lr=0.1, shots=5), [Keep(path)], None)
    trained = torch.load(path, weights_only=True)["state_dict"]
    rates = [value for name, value in trained.items() if name.startswith("learner.descent.rates")]

    same, other = Seen(), Seen()
    fit(config(2, inner_lr=0.01, lr=0.1, shots=5), [TakeOver(), same], str(path))
    fit(config(2, inner_lr=0.03, lr=0.2, shots=2), [TakeOver(), other], str(path))
    assert same.lr == pytest.approx(0.1 * 0.1)  # the schedule's
    assert other.lr == pytest.approx(0.2 * 0.1)  # its place in the schedule kept
    assert (same.shots, other.shots) == (5, 2)
    torch.testing.assert_close(same.rates, rates, rtol=0, atol=0)
    torch.testing.assert_close(other.rates, [3 * rate for rate in rates])
    assert same.momentum == other.momentum  # Adam's moments stay

    class Later(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.last = trainer.optimizers[0].param_groups[0]["lr"]

    later = Later()
    fit(config(3, inner_lr=0.01, lr=0.2, shots=2, gamma=0.5), [TakeOver(), later], str(path))
    assert later.last == pytest.approx(0.2 * 0.1 * 0.5)  # the step that was, and one by the new factor


def test_a_process_of_a_trial_is_no_task_of_sruns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster lives inside a job of Slurm's, whose variables would make every process its rank 0."""
    slurm = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": "0"}
    set_by_it = dict.fromkeys(("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK"), "0")
    for name, value in {**slurm, **set_by_it, "SLURM_JOB_NAME": "search"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # which the trainer sets: of the tests after this one it is 0 again
    take_place(1, 2, ("127.0.0.1", 1234))
    trainer = Trainer(devices=1, num_nodes=2, accelerator="cpu", strategy="ddp", logger=False)
    assert (trainer.global_rank, trainer.world_size) == (1, 2)
