"""What a job is, whoever runs it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

State = Literal["pending", "running", "succeeded", "failed", "cancelled", "preempted", "unknown"]


class JobError(ValueError):
    """What a user can do something about: what came, what is legal, what to do."""


@dataclass(frozen=True)
class Job:
    """A lightning-meta command and what it runs on.

    Args:
        name: letters, digits, dots, dashes and underscores; what the scheduler's lists show.
        command: the arguments of lightning-meta, such as ("fit", "--config", "glyphs.yaml").
        folder: of the job: the rendered script, the configuration, logs. Its name is the job's alone.
        workdir: where relative paths of the command are meant from.
        nodes: machines.
        gpus_per_node: GPUs, and processes, of each; with 0 one process a node.
        cpus_per_task: CPU cores of a process; None is 1.
        memory: of a node, such as 16G.
        time: wall-clock limit, such as 4h, 30m or 1-12:00:00.
        environment: variables that the job gets beside those of the submitting shell that its scheduler passes on.
        setup: shell lines before the command, such as `module load cuda`.
        array: how many runs of the command, each with another seed.
        max_restarts: how often a preempted job is put back into the queue; None is 10, where the scheduler does that.
        options: a profile's settings that only one scheduler knows (account, partition, image, node_selector ...).
        passthrough: options for the scheduler itself, unchanged, such as --exclusive.
        config: YAML, all that the command's options and files say, as it was when the job was submitted; None for a
            command that has no configuration. The job runs from it, and rereads no file that may have changed.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    workdir: Path
    nodes: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int | None = None
    memory: str | None = None
    time: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    array: int = 1
    max_restarts: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    passthrough: tuple[str, ...] = ()
    config: str | None = None

    @property
    def tasks_per_node(self) -> int:
        return max(self.gpus_per_node, 1)

    @property
    def cpus_of_a_task(self) -> int:
        return 1 if self.cpus_per_task is None else self.cpus_per_task

    @property
    def cpus_of_a_node(self) -> int:
        return self.cpus_of_a_task * self.tasks_per_node

    @property
    def run(self) -> str:
        """The name of the run: this job's alone, so that a restart goes on with it and another job does not; or the run that
        LIGHTNING_META_RUN in the environment asks the job to go on with."""
        return self.environment.get("LIGHTNING_META_RUN", self.folder.name)

    @property
    def goes_on(self) -> bool:
        """Whether the command, started again, goes on where it was. Any other begins anew."""
        return self.command[:1] in (("fit",), ("tune",))

    def arguments(self, config: str) -> list[str]:
        """Of lightning-meta; `config` is the resolved configuration, as a file or as text."""
        return [*self.command] if self.config is None else [self.command[0], "--config", config]


class Status(NamedTuple):
    """How a job does. `exit_code` is known where it ended by itself; `detail` is the scheduler's own word for it."""

    state: State
    exit_code: int | None = None
    restarts: int = 0
    detail: str = ""


class Twin(NamedTuple):
    """A job that is there already, and its state in a word or two."""

    id: str
    state: str


class Backend(ABC):
    """A scheduler. `render` is a pure function of the job; the rest goes through the scheduler's own client.

    Ids are the scheduler's own, as text. Every method but `render` raises JobError where the client is missing or refuses.

    Attributes:
        name: what `submit` calls it.
        without: the fields of a job that mean nothing to this scheduler, and what to do instead.
    """

    name: str
    without: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def render(self, job: Job) -> str:
        """Exactly what would be sent, as text: a script, or YAML."""

    @abstractmethod
    def check(self, job: Job, dry_run: bool = False) -> None:
        """JobError where the scheduler itself tells that it would refuse the job, or where its client is missing."""

    @abstractmethod
    def twin(self, job: Job) -> Twin | None:
        """The job that makes this one needless: the same in all but its folder, and neither failed nor cancelled."""

    @abstractmethod
    def submit(self, job: Job) -> str:
        """Send it, and return its id."""

    @abstractmethod
    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """How jobs, each an id and its folder, do; asked together. A job that cannot be asked about is unknown, `detail`
        tells why."""

    @abstractmethod
    def status(self, id: str, folder: Path) -> Status:
        """How one job does."""

    @abstractmethod
    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        """Lines so far; with `follow`, on until the job ends."""

    @abstractmethod
    def cancel(self, id: str, folder: Path) -> None:
        """End it."""
