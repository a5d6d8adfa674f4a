"""What a command prints and writes when it is done."""

import shlex
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from datamodules.episodes import EpisodeData
from datamodules.task_data import TaskData
from lightning_meta.cli import returns
from lightning_meta.cli.tables import Scores, grouped, is_elsewhere, protocol_line, rows
from lightning_meta.core import MetaRLLearner
from lightning_meta.training import MetaTraining
from lightning_meta.training.checkpoint import Learner, Origin
from lightning_meta.training.evaluation import batch_statistics, peak_memory, predictions
from lightning_meta.training.monitor import Cost


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
        data = getattr(trainer, "datamodule", None)
        best = "best" in written and not (isinstance(data, EpisodeData) and data.trains_on_validation)
        print(f"next:       lightning-meta test {rest} --ckpt_path {'best' if best else written[-1]}")


def without_checkpoint(argv: list[str]) -> list[str]:
    """The arguments but for --ckpt_path and its value."""
    after = ["", *argv]
    return [arg for arg, before in zip(argv, after, strict=False) if "--ckpt_path" not in (arg.split("=")[0], before)]


def result(
    stage: str, tag: str, trainer: Trainer, data: LightningDataModule, learner: Learner, origin: Origin
) -> dict[str, Any]:
    """What an evaluation found, ready for JSON. `stage` is meta_val or meta_test, `tag` what its scores are logged below,
    `origin` what the checkpoint tells of its making."""
    groups = grouped(tag, {name: float(value) for name, value in trainer.callback_metrics.items()})
    split = "test" if stage == "meta_test" else "val"
    protocol = data.protocol(split) if isinstance(data, TaskData) else {}
    if isinstance(learner, MetaRLLearner):
        return returns.returns(stage, learner, protocol, origin._asdict(), groups)
    found = {
        "stage": stage,
        "learner": type(learner).__name__,
        "predictions": predictions(learner),
        "noisy": learner.noisy,
        "batch_statistics": batch_statistics(learner),
        "protocol": protocol,
        "checkpoint": origin._asdict(),
        "scores": groups["scores"],
        "other": None,
        "cost": None,
    }
    module = trainer.lightning_module
    for name, other in (module.ways if isinstance(module, MetaTraining) else {}).items():
        if name in groups:
            found["other"] = {
                "predictions": name,
                "noisy": other.noisy,
                "batch_statistics": batch_statistics(other),
                "scores": {label: value for label, value in groups[name].items() if "/" not in label},
                "adapt_seconds_a_task": groups[name]["seconds/adapt"][0],
            }
    if "seconds" in groups:
        found["cost"] = {
            "adapt_seconds_a_task": groups["seconds"]["adapt"][0],
            "tasks_at_a_time": data.meta_batch // trainer.world_size if isinstance(data, TaskData) else None,
            "query_seconds": groups["seconds"]["query"][0],
            "peak_memory_bytes": groups["memory"]["peak"][0],
            "peak_memory_of": peak_memory(trainer.strategy.root_device)[1],
        }
    return found


def text(found: dict[str, Any]) -> str:
    """The result for the screen: the protocol, then a line a score."""
    if "judged_by" in found:
        return returns.text(found)
    kind = "accuracy" if "accuracy" in found["scores"] else "mse"
    lines = [protocol_line(found, kind, without=("classes_trained_on",))]
    if is_elsewhere(found["checkpoint"]["trained_on"], found["protocol"].get("data")):
        lines.append(
            f"out of domain: trained on {found['checkpoint']['trained_on']}, tested on {found['protocol']['data']}"
        )
    if met := found["protocol"].get("classes_trained_on"):
        lines.append(f"not held out: {met} classes of split {found['protocol']['split']} were trained on")
    lines.append(f"{found['learner']}, {way(found)}; mean +- 95 % confidence interval")
    groups: dict[str, Scores] = {"": {}, "shots": {}, "steps": {}, "presentation": {}}
    for name, value in found["scores"].items():
        group, _, label = name.rpartition("/")
        groups[group][label] = value
    lines += rows(groups[""], kind)
    if found["other"]:
        lines += [f"{found['learner']}, {way(found['other'])}", *rows(found["other"]["scores"], kind)]
    if groups["shots"]:
        lines += [f"{kind} at each number of shots; above, their mean", *rows(groups["shots"], kind, "shots ")]
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


def way(found: dict[str, Any]) -> str:
    """How queries were predicted."""
    statistics = f", batch statistics {found['batch_statistics']}" if found["batch_statistics"] else ""
    noise = ", which change from call to call" if found["noisy"] else ""
    return f"{found['predictions']} predictions{noise}{statistics}"
