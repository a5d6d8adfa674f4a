"""What a command prints when it is done."""

import json
import shlex
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer
from torch import nn

from datamodules.episodes import EpisodeData
from lightning_meta.core import FewShotLearner

Scores = dict[str, tuple[float, float]]  # name: mean and half-width of its 95 % confidence interval


def after_fit(trainer: Trainer, argv: list[str]) -> None:
    """Where things are and which command comes next. `argv`: what `fit` was given."""
    folder = trainer.log_dir  # asked of every process, for they agree on it
    if not trainer.is_global_zero:
        return
    paths = dict.fromkeys(getattr(callback, "best_model_path", "") for callback in trainer.checkpoint_callbacks)
    for path in filter(None, paths):
        print(f"checkpoint: {path}")
    if folder:
        print(f"curves:     tensorboard --logdir {folder}")
    written = [Path(path).stem for path in paths if path]
    if written:
        rest = shlex.join(without_checkpoint(argv))
        print(f"next:       lightning-meta test {rest} --ckpt_path {'best' if 'best' in written else written[-1]}")


def without_checkpoint(argv: list[str]) -> list[str]:
    """The arguments but for --ckpt_path and its value."""
    after = ["", *argv]
    return [arg for arg, before in zip(argv, after, strict=False) if "--ckpt_path" not in (arg.split("=")[0], before)]


def after_evaluation(stage: str, trainer: Trainer, data: LightningDataModule, learner: FewShotLearner) -> None:
    """Print scores, their intervals and the protocol of `meta_val` or `meta_test`; write them to a JSON file in the run."""
    folder = trainer.log_dir
    if not trainer.is_global_zero:
        return
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    scores: Scores = {
        name.removeprefix(f"{stage}/"): (value, found[f"{name}_ci95"])
        for name, value in found.items()
        if f"{name}_ci95" in found
    }
    result = {
        "stage": stage,
        "learner": type(learner).__name__,
        "predictions": "transductive" if learner.transductive else "inductive",
        "batch_statistics": batch_statistics(learner),
        "protocol": protocol(data, "test" if stage == "meta_test" else "val"),
        "scores": scores,
    }
    print(text(result))
    if folder:
        path = Path(folder, f"{stage}{suffix(result['protocol'])}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".partial")
        aside.write_text(json.dumps(result, indent=1) + "\n")
        aside.replace(path)


def protocol(data: LightningDataModule, name: str) -> dict[str, Any]:
    """What episodes the scores are of: split, size, number and seed."""
    if not isinstance(data, EpisodeData):
        return {}
    return {
        "split": data.splits[name],
        **data.sizes[name]._asdict(),
        "episodes": data.episodes[name],
        "seed": data.seed,
    }


def suffix(protocol: dict[str, Any]) -> str:
    """A file of its own for each size of episode, such as _5way_1shot."""
    return f"_{shown(protocol['ways'])}way_{shown(protocol['shots'])}shot" if protocol else ""


def batch_statistics(learner: FewShotLearner) -> str | None:
    """What batch norm normalised by, if the learner has any."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in learner.modules()):
        return None
    return getattr(learner, "batch_stats", "running")


def text(result: dict[str, Any]) -> str:
    """The result for the screen: two lines of protocol, then a line a score."""
    scores: Scores = result["scores"]
    kind = "accuracy" if "accuracy" in scores else "mse"
    settings = {name.replace("_", " "): value for name, value in result["protocol"].items() if value is not None}
    if kind == "mse":
        settings.pop("ways", None)  # regression has none
    statistics = f", batch statistics {result['batch_statistics']}" if result["batch_statistics"] else ""
    lines = [
        f"{result['stage']}: {', '.join(f'{name} {shown(value)}' for name, value in settings.items())}",
        f"{result['learner']}, {result['predictions']} predictions{statistics}; mean +- 95 % confidence interval",
    ]
    for name, (mean, ci95) in scores.items():
        label, percent = name.replace("steps/", "steps "), kind == "accuracy" and name != "loss"
        lines.append(f"  {label:10} {number(mean, percent):>10}  +- {number(ci95, percent)}")
    return "\n".join(lines)


def number(value: float, percent: bool) -> str:
    """An accuracy in per cent with two digits; anything else with three, in scientific notation where it is extreme."""
    if percent:
        return f"{100 * value:.2f} %"
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.2e}"


def shown(value: Any) -> str:
    """A number, or a range as 1-5."""
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
