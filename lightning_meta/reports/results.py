"""What a command prints and writes when it is done."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from lightning_meta.config.merge import combine, split_argv
from lightning_meta.core import MetaRLLearner
from lightning_meta.core.files import check_writable, write_json
from lightning_meta.reports import returns
from lightning_meta.reports.tables import Scores, grouped, is_elsewhere, protocol_line, rows, size_name
from lightning_meta.training import MetaTraining
from lightning_meta.training.checkpoint import Learner, Origin
from lightning_meta.training.evaluation import peak_memory, predictions
from lightning_meta.training.monitor import Cost
from lightning_meta.training.run_checkpoints import BestCheckpoint
from lightning_meta.training.run_folder import RunFolder, unused
from lightning_meta.training.task_data import TaskData


def after_fit(trainer: Trainer, argv: list[str], folder: RunFolder | None) -> None:
    """Where things are and which command comes next. `argv`: what `fit` was given."""
    if not trainer.is_global_zero:
        return
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, Cost) and trainer.state.finished:
            wall, cpu = callback.spent()
            print(f"took:       {wall / 60:.1f} min, {cpu / 60:.1f} min of CPU")
    if folder is None:
        return
    print(f"run:        {folder.path}")
    own = [path for path in (folder.best, folder.last) if path.is_file()]
    for callback in callbacks:
        if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None and folder.best.is_file():
            print(f"best:       {best_score(float(callback.best_model_score), trainer, folder.best)}")
    others = (Path(callback.best_model_path) for callback in callbacks if isinstance(callback, ModelCheckpoint))
    beside = [
        path for path in dict.fromkeys(others) if path.is_file() and path.resolve() not in [p.resolve() for p in own]
    ]
    for path in [*own, *beside]:
        print(f"checkpoint: {path}")
    for logger in trainer.loggers:
        print(f"curves:     {curves(logger)}")
    if own:
        data = getattr(trainer, "datamodule", None)
        untold = isinstance(data, TaskData) and data.trains_on_validation
        print(f"next:       {next_command(argv, own[-1] if untold else own[0])}")


def best_score(error: float, trainer: Trainer, path: Path) -> str:
    """The best validation and where it was, such as: meta-validation accuracy 93.20 % at step 500."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    names = {name.removeprefix("meta_val/") for name in trainer.callback_metrics}
    if "accuracy" in names:
        score = f"accuracy {100 * (1 - error):.2f} %"
    elif "mse" in names:
        score = f"mse {error:.4g}"
    elif "return" in names:
        score = f"return {-error:.4g}"
    else:
        score = f"error {error:.4g}"
    return f"meta-validation {score} at step {checkpoint['global_step']}, in epoch {checkpoint['epoch'] + 1}"


def curves(logger: Any) -> str:
    """Where the curves of a logger are to be seen."""
    if isinstance(logger, TensorBoardLogger):
        return f"tensorboard --logdir {shlex.quote(os.path.normpath(logger.log_dir))}"
    if isinstance(logger, CSVLogger):
        return os.path.normpath(os.path.join(logger.log_dir, "metrics.csv"))
    return f"{type(logger).__name__}, {logger.name}"


def next_command(argv: list[str], checkpoint: Path) -> str:
    """The test of this very checkpoint, which runs in one process, wherever it is pasted."""
    rest = without(argv, "ckpt_path", "trainer.devices", "trainer.num_nodes", "trainer.strategy")
    configured, base = (combine(names)["trainer"] for names in (split_argv(argv)[0], []))
    alone = {"devices": "1", "num_nodes": "1", "strategy": "auto"}
    for key, value in alone.items():
        if configured.get(key) != base.get(key):
            rest += [f"--trainer.{key}", value]
    return f"lightning-meta test {shlex.join([*rest, '--ckpt_path', str(checkpoint)])}"


def without(argv: list[str], *keys: str) -> list[str]:
    """The arguments except some options and their values."""
    options, after = {f"--{key}" for key in keys}, ["", *argv]
    return [arg for arg, before in zip(argv, after, strict=False) if not options & {arg.split("=")[0], before}]


def keep_result(folder: Path, stage: str, found: dict[str, Any]) -> None:
    """Write a result as JSON. One of another checkpoint, or under another protocol, that has this name is kept beside it."""
    path = result_file(folder, stage, found["protocol"])
    if path.is_file() and not is_of(path, found):
        path.replace(unused(path))
    write_json(path, found, indent=1)


def check_result(folder: Path, stage: str, data: LightningDataModule, split: str) -> None:
    """InputError where the result of this evaluation could not be kept."""
    check_writable(result_file(folder, stage, data.protocol(split) if isinstance(data, TaskData) else {}))


def result_file(folder: Path, stage: str, protocol: dict[str, Any]) -> Path:
    return folder / f"{stage}{size_name(protocol)}.json"


def is_of(path: Path, found: dict[str, Any]) -> bool:
    """Return whether an earlier result, if this file is one, is of the same checkpoint under the same protocol."""
    try:
        earlier = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(earlier, dict) and all(earlier.get(key) == found[key] for key in ("checkpoint", "protocol"))


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
        "batch_statistics": learner.batch_statistics(),
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
                "batch_statistics": other.batch_statistics(),
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
        lines += [f"{kind} after each number of inner steps", *rows(groups["steps"], kind, "steps ")]
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
