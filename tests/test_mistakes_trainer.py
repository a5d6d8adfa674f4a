"""Settings of the trainer, of the outer optimiser and of callbacks that cannot be: found before training begins."""

from pathlib import Path

import pytest
from mistakes import ends_with_one_message

from lightning_meta.cli import main

FIT = "fit --config sinusoid.yaml --config maml.yaml --trainer.accelerator cpu --trainer.max_epochs 2"
FIT += " --data.epoch_batches 6 --data.val_episodes 8 --data.meta_batch 2 --trainer.enable_progress_bar false"
CALLBACK = "--trainer.callbacks+=pytorch_lightning.callbacks"
SCHEDULE = "--model.scheduler torch.optim.lr_scheduler"
MISTAKES = {
    "--model.optimizer.init_args.lr -1": ["outer optimizer", "Invalid learning rate: -1"],
    "--model.optimizer.init_args.lr nan": ["lr", "nan"],
    "--model.optimizer.init_args.lr 1e39": ["outer optimizer cannot step", "overflow"],
    "--model.optimizer.init_args.betas [2,0.9]": ["outer optimizer", "Invalid beta parameter"],
    "--data.num_workers -1": ["num_workers is -1", "0 or more"],
    f"{CALLBACK}.EarlyStopping --trainer.callbacks.monitor nonsense": [
        "EarlyStopping monitors 'nonsense'",
        "meta_val/error",
        "meta_val/mse",
    ],
    f"{CALLBACK}.EarlyStopping --trainer.callbacks.monitor meta_val/accuracy": ["'meta_val/accuracy'", "meta_val/mse"],
    f"{CALLBACK}.ModelCheckpoint --trainer.callbacks.monitor val_loss": ["ModelCheckpoint monitors 'val_loss'"],
    f"{SCHEDULE}.OneCycleLR --model.scheduler.max_lr 0.1 --model.scheduler.total_steps 5": [
        "OneCycleLR has 5 steps",
        "training takes 12",
    ],
    f"{SCHEDULE}.ReduceLROnPlateau": ["ReduceLROnPlateau waits for a score", "CosineAnnealingLR"],
    "--trainer.gradient_clip_val -1": ["gradient_clip_val is -1", "0 or more"],
    "--trainer.gradient_clip_val nan": ["gradient_clip_val is nan"],
    "--trainer.accumulate_grad_batches 0": ["accumulate_grad_batches"],
    "--trainer.accumulate_grad_batches -2": ["accumulate_grad_batches is -2", "1 or more"],
    "--trainer.check_val_every_n_epoch 0": ["check_val_every_n_epoch is 0", "1 or more"],
    "--trainer.val_check_interval 0": ["val_check_interval is 0"],
    "--trainer.val_check_interval 100": ["val_check_interval is 100", "an epoch has 6 meta-batches"],
    "--trainer.limit_train_batches 0": ["limit_train_batches is 0"],
    "--trainer.num_sanity_val_steps -3": ["num_sanity_val_steps is -3"],
    "--model.optimizer torch.optim.SparseAdam": ["outer optimizer cannot step", "does not support dense gradients"],
    f"{CALLBACK}.ModelPruning --trainer.callbacks.pruning_fn l1_unstructured": ["ModelPruning", "vectorize loop"],
    f"{CALLBACK}.LearningRateFinder": ["LearningRateFinder", "lightning-meta tune"],
    "--trainer.min_epochs 4": ["min_epochs is 4", "max_epochs 2"],
    "--trainer.min_epochs -1": ["min_epochs is -1"],
    "--trainer.max_steps -2": ["max_steps", "-2"],
    "--trainer.log_every_n_steps -1": ["log_every_n_steps is -1"],
    "--trainer.reload_dataloaders_every_n_epochs -1": ["reload_dataloaders_every_n_epochs"],
    "--trainer.accelerator gpu": ["No supported gpu backend found"],
    "--trainer.accelerator tpu": ["torch_xla"],
    "--trainer.devices 0": ["devices"],
    "--trainer.strategy nonsense": ["nonsense"],
    "--trainer.precision nonsense": ["precision"],
}


@pytest.mark.usefixtures("no_type_checker", "recwarn")  # Lightning warns of what we then refuse
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_trainer_that_cannot_be_ends_with_one_message(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    ends_with_one_message(f"{FIT} {mistake}", MISTAKES[mistake], tmp_path, capfd)


@pytest.mark.usefixtures("no_type_checker", "recwarn")
def test_a_timer_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    main([*FIT.split(), *f"{CALLBACK}.Timer --trainer.callbacks.duration 00:00:01:00".split()])
    assert (tmp_path / "runs/sinusoid-maml/version_0/checkpoints/best.ckpt").exists()
