"""The contestants of a comparison: the learners of checkpoints, by name, and the records of their training."""

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
    path: Path | None  # None: given as an object
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
            checkpoint=self.path and str(self.path),
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


def contestants(
    learners: Sequence[str | Path | FewShotLearner], names: Sequence[str] | None, trust: Sequence[str] = ()
) -> list[Contestant]:
    """Return the learners of a comparison under their names.

    Args:
        learners: Checkpoints, whose learners are as they were configured, and learners as objects.
        names: A name for each; by default that of its run, or its class.
        trust: Packages whose classes a checkpoint may name.

    Raises:
        InputError: If a file is not a checkpoint of a few-shot learner, or the names do not fit.
    """
    given = [one if isinstance(one, FewShotLearner) else Path(one) for one in learners]
    called = named(given, names)
    return [
        of_checkpoint(name, one, trust) if isinstance(one, Path) else of_learner(name, one)
        for name, one in zip(called, given, strict=True)
    ]


def of_learner(name: str, learner: FewShotLearner) -> Contestant:
    """Return a learner that is given as an object, in evaluation mode. Nothing is known of its training."""
    owner = getattr(learner, "network", learner)
    backbone = type(owner.backbone).__name__ if hasattr(owner, "backbone") else "-"
    return Contestant(name, None, learner.eval(), {}, backbone, None, None, 0, None, [])


def of_checkpoint(name: str, path: Path, trust: Sequence[str]) -> Contestant:
    """Return the learner of a checkpoint, as it was configured."""
    checkpoint, learner = read(path), few_shot(path, load(path, trust=trust), "compare")
    options = data_arguments(checkpoint)
    meta_batch, flat_batch = options.get("meta_batch"), options.get("flat_batch", 0)
    made = origin(path, checkpoint)
    return Contestant(
        name=name,
        path=path,
        learner=learner,
        trained={key: value for key, value in checkpoint.items() if key not in WEIGHTS},
        backbone=described(learner_arguments(checkpoint).get("backbone")),
        trained_on=made.trained_on,
        episodes=made.steps * meta_batch if made.steps and isinstance(meta_batch, int) else None,
        flat_batch=flat_batch if isinstance(flat_batch, int) else 0,
        cpu_minutes=made.cpu_seconds and round(made.cpu_seconds / 60, 1),
        validation=[(n * meta_batch, value) for n, value in validation(path)] if isinstance(meta_batch, int) else [],
    )


def named(given: Sequence[Path | FewShotLearner], names: Sequence[str] | None) -> list[str]:
    """Return the given names, or those of runs and classes."""
    paths = [one for one in given if isinstance(one, Path)]
    if names is not None or len(paths) == len(given):
        return chosen(list(given), names)
    of_run = iter(chosen(paths, None))
    called = [next(of_run) if isinstance(one, Path) else type(one).__name__ for one in given]
    if len(set(called)) < len(called):
        raise InputError(f"two learners would have one name ({', '.join(called)}): give names")
    return called


def chosen(given: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Return `names`, one per checkpoint, or the names of the run folders, followed by as much as tells them apart."""
    if names is not None:
        if len(names) != len(given):
            raise InputError(f"--names has {len(names)} names for {len(given)} checkpoints: give one for each")
        if len(set(names)) < len(names):
            raise InputError(f"--names repeats a name ({', '.join(names)}): give each checkpoint its own")
        return list(names)
    paths: Sequence[Path] = given
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
