"""What a command prints and writes when it is done."""

import math
import shlex
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from datamodules.episodes import EpisodeData
from lightning_meta.core import FewShotLearner
from lightning_meta.training.checkpoint import Origin
from lightning_meta.training.evaluation import batch_statistics, peak_memory, predictions, protocols
from lightning_meta.training.monitor import Cost

Score = tuple[float, float | None]  # mean and half-width of its 95 % confidence interval, if it has one
Scores = dict[str, Score]


def after_fit(trainer: Trainer, argv: list[str]) -> None:
    """Where things are and which command comes next. `argv`: what `fit` was given."""
    folder = trainer.log_dir  # asked of every process, for they agree on it
    if not trainer.is_global_zero:
        return
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Cost):
            wall, cpu = callback.spent()
            print(f"took:       {wall / 60:.1f} min, {cpu / 60:.1f} min of CPU")
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


def result(
    stage: str, tag: str, trainer: Trainer, data: LightningDataModule, learner: FewShotLearner, origin: Origin
) -> dict[str, Any]:
    """What an evaluation found, ready for JSON. `stage` is meta_val or meta_test, `tag` what its scores are logged below,
    `origin` what the checkpoint tells of its making."""
    groups = grouped(tag, {name: float(value) for name, value in trainer.callback_metrics.items()})
    split = "test" if stage == "meta_test" else "val"
    found = {
        "stage": stage,
        "learner": type(learner).__name__,
        "predictions": predictions(learner),
        "batch_statistics": batch_statistics(learner),
        "protocol": protocol(data, split),
        "checkpoint": origin._asdict(),
        "scores": groups["scores"],
        "other": None,
        "cost": None,
    }
    for name, other in protocols(learner).items():
        if name in groups:
            found["other"] = {
                "predictions": name,
                "batch_statistics": batch_statistics(other),
                "scores": {label: value for label, value in groups[name].items() if "/" not in label},
                "adapt_seconds_a_task": groups[name]["seconds/adapt"][0],
            }
    if "seconds" in groups:
        found["cost"] = {
            "adapt_seconds_a_task": groups["seconds"]["adapt"][0],
            "tasks_at_a_time": data.meta_batch // trainer.world_size if isinstance(data, EpisodeData) else None,
            "query_seconds": groups["seconds"]["query"][0],
            "peak_memory_bytes": groups["memory"]["peak"][0],
            "peak_memory_of": peak_memory(trainer.strategy.root_device)[1],
        }
    return found


def grouped(tag: str, found: dict[str, float]) -> dict[str, Scores]:
    """What was logged below `tag`: what belongs to another protocol, seconds and memory by that name, the rest as scores."""
    groups: dict[str, Scores] = {"scores": {}}
    for name, value in found.items():
        label = name.removeprefix(f"{tag}/")
        if label == name or label == "error" or label.endswith("_ci95"):
            continue
        first, _, rest = label.partition("/")
        of_group = first in ("inductive", "transductive", "seconds", "memory")
        group = groups.setdefault(first, {}) if of_group else groups["scores"]
        ci95 = found.get(f"{name}_ci95", math.nan)
        group[rest if of_group else label] = (value, None if math.isnan(ci95) else ci95)
    return groups


def protocol(data: LightningDataModule, name: str) -> dict[str, Any]:
    """What episodes the scores are of: data, split, size, number and seed."""
    if not isinstance(data, EpisodeData):
        return {}
    return {
        "data": source(data),
        "split": data.splits[name],
        **data.sizes[name]._asdict(),
        "episodes": data.episodes[name],
        "seed": data.seed,
    }


def source(data: LightningDataModule) -> str:
    """What the episodes are made from: the root of a shard set, else the name of the data module."""
    return getattr(data, "root", type(data).__name__)


def size_name(protocol: dict[str, Any]) -> str:
    """The size of an episode in the name of a file or a curve, such as _5way_1shot."""
    return f"_{shown(protocol['ways'])}way_{shown(protocol['shots'])}shot" if protocol else ""


def text(found: dict[str, Any]) -> str:
    """The result for the screen: the protocol, then a line a score."""
    kind = "accuracy" if "accuracy" in found["scores"] else "mse"
    lines = [protocol_line(found, kind)]
    if is_elsewhere(found["checkpoint"]["trained_on"], found["protocol"].get("data")):
        lines.append(
            f"out of domain: trained on {found['checkpoint']['trained_on']}, tested on {found['protocol']['data']}"
        )
    lines.append(f"{found['learner']}, {way(found)}; mean +- 95 % confidence interval")
    groups: dict[str, Scores] = {"": {}, "steps": {}, "presentation": {}}
    for name, value in found["scores"].items():
        group, _, label = name.rpartition("/")
        groups[group][label] = value
    lines += rows(groups[""], kind)
    if found["other"]:
        lines += [f"{found['learner']}, {way(found['other'])}", *rows(found["other"]["scores"], kind)]
    if groups["steps"]:
        lines += [f"{kind} after so many inner steps", *rows(groups["steps"], kind, "steps ")]
    if groups["presentation"]:
        lines.append("accuracy the first, second, ... time that a class is presented, before its label is seen")
        lines += rows(groups["presentation"], kind, "presentation ")
    if cost := found["cost"]:
        lines.append(
            f"cost: {cost['adapt_seconds_a_task']:.2e} s to adapt to a task ({cost['tasks_at_a_time']} at a time),"
            f" {cost['query_seconds']:.2e} s a query; peak memory {cost['peak_memory_bytes'] / 2**20:,.0f} MiB"
            f" ({cost['peak_memory_of']})"
        )
    return "\n".join(lines)


def protocol_line(found: dict[str, Any], kind: str, without: tuple[str, ...] = ()) -> str:
    """Stage, data set and the settings of the protocol but for some."""
    settings = {name: value for name, value in found["protocol"].items() if name not in without}
    if kind == "mse":
        settings.pop("ways", None)  # regression has none
    return f"{found['stage']}: {', '.join(f'{name} {shown(value)}' for name, value in settings.items())}"


def is_elsewhere(trained_on: str | None, tested_on: str | None) -> bool:
    """Whether these are different data: sets of one name are the same, wherever they lie."""
    return None not in (trained_on, tested_on) and Path(str(trained_on)).name != Path(str(tested_on)).name


def way(found: dict[str, Any]) -> str:
    """How queries were predicted."""
    statistics = f", batch statistics {found['batch_statistics']}" if found["batch_statistics"] else ""
    return f"{found['predictions']} predictions{statistics}"


def rows(scores: Scores, kind: str, label: str = "") -> list[str]:
    """A line a score."""
    lines = []
    for name, (mean, ci95) in scores.items():
        percent = kind == "accuracy" and name not in ("loss", "nll")
        interval = "" if ci95 is None else f"  +- {number(ci95, percent)}"
        lines.append(f"  {label + name:16} {number(mean, percent):>10}{interval}")
    return lines


def number(value: float, percent: bool) -> str:
    """An accuracy in per cent with two digits; anything else with three, in scientific notation where it is extreme."""
    if percent:
        return f"{100 * value:.2f} %"
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.2e}"


def shown(value: Any) -> str:
    """A number, or a range as 1-5."""
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
