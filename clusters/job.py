"""What a job is, whoever runs it."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

State = Literal["pending", "running", "succeeded", "failed", "cancelled", "preempted", "unknown"]


class JobError(ValueError):
    """What a user can do something about: what came, what is legal, what to do."""


@dataclass(frozen=True)
class Job:
    """A lightning-meta command and what it runs on.

    Args:
        name: letters, digits, dots, dashes and underscores; what the scheduler's lists show.
        command: the arguments of lightning-meta, such as ("fit", "--config", "glyphs.yaml").
        folder: of the job: the rendered script, the configuration, logs.
        workdir: where relative paths of the command are meant from.
        nodes: machines.
        gpus_per_node: GPUs, and processes, of each; with 0 one process a node.
        cpus_per_task: CPU cores of a process.
        memory: of a node, such as 16G.
        time: wall-clock limit, such as 4h, 30m or 1-12:00:00.
        environment: variables that the job gets beside those of the submitting shell that its scheduler passes on.
        setup: shell lines before the command, such as `module load cuda`.
        array: how many runs of the command, each with another seed.
        max_restarts: how often a preempted job is put back into the queue.
        options: a profile's settings that only one scheduler knows (account, partition, image, node_selector ...).
        passthrough: options for the scheduler itself, unchanged, such as --exclusive.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    workdir: Path
    nodes: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    memory: str | None = None
    time: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    array: int = 1
    max_restarts: int = 10
    options: dict[str, Any] = field(default_factory=dict)
    passthrough: tuple[str, ...] = ()

    @property
    def tasks_per_node(self) -> int:
        return max(self.gpus_per_node, 1)

    @property
    def line(self) -> str:
        """The command as a shell reads it."""
        return shlex.join(("lightning-meta", *self.command))


class Status(NamedTuple):
    """How a job does. `exit_code` is known where it ended by itself; `detail` is the scheduler's own word for it."""

    state: State
    exit_code: int | None = None
    restarts: int = 0
    detail: str = ""


class Backend(ABC):
    """A scheduler. `render` is a pure function of the job; the rest goes through the scheduler's own client.

    Ids are the scheduler's own, as text. Every method but `render` raises JobError where the client is missing or refuses.
    """

    name: str

    @abstractmethod
    def render(self, job: Job) -> str:
        """Exactly what would be sent, as text: a script, or YAML."""

    def check(self, job: Job, dry_run: bool = False) -> None:
        """JobError where the scheduler itself tells that it would refuse the job, or where its client is missing."""

    @abstractmethod
    def submit(self, job: Job) -> str:
        """Send it, and return its id."""

    @abstractmethod
    def status(self, id: str, folder: Path) -> Status: ...

    @abstractmethod
    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        """Lines so far; with `follow`, on until the job ends."""

    @abstractmethod
    def cancel(self, id: str, folder: Path) -> None: ...
