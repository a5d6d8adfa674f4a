"""A logger with the manners of a service's: its name is a project's, its version is random, it writes no curves here."""

import uuid
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger


class RemoteLogger(Logger):
    """Keeps what it is told in a file of its own below `save_dir`, and takes up a run again by its `version`."""

    def __init__(
        self, project: str = "project", name: str | None = None, version: str | None = None, save_dir: str = "."
    ):
        super().__init__()
        self.project, self.display, self.run = project, name, version or uuid.uuid4().hex[:8]
        self.folder = save_dir

    @property
    def name(self) -> str:
        return self.project

    @property
    def version(self) -> str:
        return self.run

    @property
    def save_dir(self) -> str:
        return self.folder

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        file = Path(self.folder, "remote", f"{self.run}.txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write(f"{step} {metrics}\n")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...
