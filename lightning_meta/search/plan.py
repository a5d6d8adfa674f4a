"""The plan that all trials of a search share, and the run of one of their processes."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback

from lightning_meta.core.cores import VARIABLE
from lightning_meta.search.override import TakeOver
from lightning_meta.search.space import Dimension
from lightning_meta.search.worker import fit


class Plan(NamedTuple):
    """The plan that all trials of a search share. It is pickled and sent to their workers."""

    config: dict[str, Any]  # complete; a trial's values go over it
    space: list[Dimension]
    objectives: list[str]
    folder: str  # of the search: the curves of a trial go below it
    cwd: str  # relative paths of the configuration are meant from here
    workers: int
    cpus: float
    gpus: float
    population: bool  # whether a scheduler may give a trial another's weights


def train(plan: Plan, config: dict[str, Any], callbacks: list[Callback], path: Path | None) -> None:
    """`fit`, from the folder that the search was started in, where there is one. Loader processes of several trials on a
    machine share its cores."""
    os.environ.setdefault(VARIABLE, str(max(1, int(plan.cpus))))
    if os.path.isdir(plan.cwd):
        os.chdir(plan.cwd)
    fit(config, [TakeOver(), *callbacks], str(path) if path else None)
