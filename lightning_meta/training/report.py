"""What a command prints when it is done."""

from pytorch_lightning import LightningDataModule, Trainer
from rich.console import Console
from rich.table import Table


def print_report(command: str, trainer: Trainer, data: LightningDataModule) -> None:
    """After `fit`, where things are; after `test` and `validate`, the scores with their intervals and protocol."""
    if not trainer.is_global_zero:
        return
    if command == "fit":
        for callback in trainer.checkpoint_callbacks:
            if path := getattr(callback, "best_model_path", ""):
                print(f"checkpoint: {path}")
        if trainer.log_dir:
            print(f"curves:     tensorboard --logdir {trainer.log_dir}")
    else:
        stage = {"test": "meta_test", "validate": "meta_val"}[command]
        Console().print(table(stage, trainer, data))


def table(stage: str, trainer: Trainer, data: LightningDataModule) -> Table:
    """One row a score: name, mean, 95 % confidence interval."""
    result = Table(title=stage)
    for column in ("score", "mean", "95 % CI"):
        result.add_column(column)
    for name, value in trainer.callback_metrics.items():
        kind = name.removeprefix(f"{stage}/")
        if f"{name}_ci95" in trainer.callback_metrics:
            result.add_row(kind, f"{float(value):.4f}", f"+- {float(trainer.callback_metrics[f'{name}_ci95']):.4f}")
    return result
