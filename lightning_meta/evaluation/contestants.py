"""Who takes part in a comparison: the learners of checkpoints, by name, and what is known of their training."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_meta.config.links import few_shot
from lightning_meta.core import FewShotLearner, InputError
from lightning_meta.reports.comparison import Curve, Facts
from lightning_meta.reports.tables import described
from lightning_meta.training import load
from lightning_meta.training.checkpoint import data_arguments, learner_arguments, origin, read
from lightning_meta.training.evaluation import predictions
from lightning_meta.training.run_folder import run_of
from lightning_meta.training.trust import brief

WEIGHTS = ("state_dict", "optimizer_states", "callbacks", "loops")
VALIDATED = {"meta_val/accuracy", "meta_val/mse"}


class Contestant(NamedTuple):
    """A learner under one protocol. What its checkpoint does not tell is None; the validation curve may be empty."""

    name: str
    path: Path
    learner: FewShotLearner
    trained: dict[str, Any]  # what its checkpoint holds beside weights, the state of its training data among it
    backbone: str  # class and arguments, as configured
    trained_on: str | None
    episodes: int | None  # of its meta-training; of pretraining, flat batches
    flat_batch: int  # examples of such a batch; 0 for episodes
    cpu_minutes: float | None  # that its training took
    validation: Curve

    def facts(self) -> Facts:
        """Return what is known of it, for tables and JSON."""
        return Facts(
            learner=self.name,
            checkpoint=str(self.path),
            class_name=type(self.learner).__name__,
            predictions=predictions(self.learner),
            noisy=self.learner.noisy,
            batch_statistics=self.learner.batch_statistics(),
            backbone=self.backbone,
            parameters=sum(w.numel() for w in self.learner.parameters()),
            trained_on=self.trained_on,
            episodes=self.episodes,
            flat_batch=self.flat_batch,
            cpu_minutes=self.cpu_minutes,
            validation=self.validation,
        )


def contestants(paths: list[Path], names: list[str] | None, trust: Sequence[str] = ()) -> list[Contestant]:
    """Each checkpoint, as configured. InputError where a file is not a checkpoint or `names` do not fit."""
    found = []
    for path, name in zip(paths, chosen(paths, names), strict=True):
        checkpoint, learner = read(path), few_shot(path, load(path, trust=trust), "compare")
        options = data_arguments(checkpoint)
        meta_batch, flat_batch = options.get("meta_batch"), options.get("flat_batch", 0)
        flat_batch = flat_batch if isinstance(flat_batch, int) else 0
        made = origin(path, checkpoint)
        minutes = made.cpu_seconds and round(made.cpu_seconds / 60, 1)
        episodes = made.steps * meta_batch if made.steps and isinstance(meta_batch, int) else None
        curve = [(step * meta_batch, value) for step, value in validation(path)] if isinstance(meta_batch, int) else []
        backbone = described(learner_arguments(checkpoint).get("backbone"))
        trained = {key: value for key, value in checkpoint.items() if key not in WEIGHTS}
        found.append(
            Contestant(name, path, learner, trained, backbone, made.trained_on, episodes, flat_batch, minutes, curve)
        )
    return found


def chosen(paths: list[Path], names: list[str] | None) -> list[str]:
    """`names`, one a checkpoint, or what the run folders are called, with as much behind it as tells them apart."""
    if names is not None:
        if len(names) != len(paths):
            raise InputError(f"--names has {len(names)} names for {len(paths)} checkpoints: give one for each")
        if len(set(names)) < len(names):
            raise InputError(f"--names repeats a name ({', '.join(names)}): give each checkpoint its own")
        return names
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a checkpoint is given twice: give each one once")
    found: dict[Path, str] = {}
    for parts in (1, 2, 3):
        names = ["/".join(run_parts(path)[:parts]) for path in paths]
        once = {path: name for path, name in zip(paths, names, strict=True) if names.count(name) == 1}
        found = once | found
    if len(found) < len(paths):
        alike = [str(path) for path in paths if path not in found]
        raise InputError(f"{' and '.join(alike)} would have one name: name the checkpoints with --names")
    return [found[path] for path in paths]


def run_parts(path: Path) -> list[str]:
    """Run, version and file of runs/RUN/VERSION/checkpoints/FILE.ckpt; of another path, the file and its folders."""
    run = run_of(path.resolve())
    own = [run.path.parent.name, run.path.name, path.stem] if run else []
    return own or [path.stem, *reversed(path.resolve().parts[1:-1])]


def validation(path: Path) -> Curve:
    """The validation score against training steps, as the event files and metrics.csv of the checkpoint's run have it; empty
    where its loggers wrote neither."""
    run, points = run_of(path), dict[int, float]()
    for file in readable(run.path, "events*") if run else ():
        events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        for tag in VALIDATED & set(events.Tags()["scalars"]):
            points |= {event.step + 1: event.value for event in events.Scalars(tag)}  # steps are logged from 0
    for file in readable(run.path, "metrics.csv") if run else ():
        try:
            with file.open(encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    points |= {int(row["step"]) + 1: float(row[tag]) for tag in VALIDATED if row.get(tag)}
        except (ValueError, LookupError, TypeError, csv.Error) as error:
            warnings.warn(f"{file} is damaged ({brief(error)}): its curve is left out", stacklevel=2)
    return sorted(points.items())


def readable(run: Path, name: str) -> list[Path]:
    """The files of this name below a run's folder. Warns of pipes, folders and links out of it, which are left out."""
    found = sorted(run.rglob(name))
    own = [file for file in found if file.is_file() and file.resolve().is_relative_to(run.resolve())]
    for other in sorted({*found} - {*own}):
        warnings.warn(f"{other} is not a file of this run: its curve is left out", stacklevel=2)
    return own
