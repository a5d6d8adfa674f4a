"""Settings of the trainer, of the outer optimiser and of callbacks that cannot be: found before training begins."""

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import BaseFinetuning

from lightning_meta.cli import main
from support.mistakes import ends_with_one_message

FIT = "fit --config sinusoid-maml.yaml --trainer.accelerator cpu --trainer.max_epochs 2"
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
    f"{SCHEDULE}.ExponentialLR --model.scheduler.gamma -1": ["ExponentialLR makes the outer learning rate -0.001"],
    f"{SCHEDULE}.ExponentialLR --model.scheduler.gamma 1e200": ["ExponentialLR makes the outer learning rate inf"],
    f"{SCHEDULE}.StepLR --model.scheduler.step_size 9 --model.scheduler.gamma -1": ["rate -0.001 after 9 step(s)"],
    f"{SCHEDULE}.StepLR --model.scheduler.step_size 0": ["StepLR fails at step 1 with ZeroDivisionError"],
    f"{SCHEDULE}.CosineAnnealingLR --model.scheduler.T_max 0": ["CosineAnnealingLR fails", "other arguments"],
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
    f"{CALLBACK}.BackboneFinetuning": ["BackboneFinetuning does not find", "pl_module.learner"],
    f"--trainer.callbacks+={__name__}.Freezing": [
        "Freezing does not find",
        "no attribute 'encoder'",
        "pl_module.learner",
    ],
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


class Freezing(BaseFinetuning):
    """Looks for weights that no learner has."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.encoder)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None: ...


class Logs(Callback):
    """A user's, that may log anything."""


@pytest.mark.usefixtures("no_type_checker", "recwarn")  # Lightning warns of what we then refuse
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_trainer_that_cannot_be_ends_with_one_message(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    ends_with_one_message(f"{FIT} {mistake}", MISTAKES[mistake], tmp_path, capfd)


@pytest.mark.slow
@pytest.mark.usefixtures("no_type_checker", "recwarn")
def test_a_timer_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    main([*FIT.split(), *f"{CALLBACK}.Timer --trainer.callbacks.duration 00:00:01:00".split()])
    assert (tmp_path / "runs/sinusoid-maml/version_0/checkpoints/best.ckpt").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize(
    "legal",
    [
        f"{SCHEDULE}.CosineAnnealingLR --model.scheduler.T_max 2",
        f"{SCHEDULE}.ExponentialLR --model.scheduler.gamma 0",
    ],
)
def test_a_schedule_that_ends_at_0_is_no_mistake(legal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    main([*FIT.split(), *legal.split()])
    assert (tmp_path / "runs/sinusoid-maml/version_0/checkpoints/best.ckpt").exists()


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize("beside", ["", f"--trainer.callbacks+={__name__}.Logs"])
def test_a_score_that_turns_out_not_to_be_logged_is_told_with_those_that_are(
    beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    monitor = "nonsense" if beside else "meta_val/foo/bar"
    with pytest.raises(SystemExit) as ended:
        main(f"{FIT} {beside} {CALLBACK}.EarlyStopping --trainer.callbacks.monitor {monitor}".split())
    said = capfd.readouterr().err
    assert ended.value.code == 2
    assert f"EarlyStopping monitors '{monitor}', which is not logged: choose from" in said
    assert "meta_val/steps/1" in said
    assert "Traceback" not in said
