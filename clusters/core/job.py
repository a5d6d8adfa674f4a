"""A job: a lightning-meta command and the machines it runs on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

State = Literal["pending", "running", "succeeded", "failed", "cancelled", "preempted", "unknown"]
EXIT_TO_RESUME = 75  # exit status of a command that was stopped, has saved its state and asks to be started again


class JobError(ValueError):
    """A mistake that a user can correct. The message reads "X is Y: give Z"."""


@dataclass(frozen=True)
class Job:
    """A lightning-meta command and the machines it runs on.

    Args:
        name: The name that the scheduler's lists show: letters, digits, dots, dashes and underscores.
        command: The arguments of lightning-meta, such as ("fit", "--config", "glyphs.yaml").
        folder: The job's own folder, with the rendered script, the configuration and the logs. No other job has its name.
        workdir: The folder that the command's relative paths start from.
        nodes: The number of machines.
        gpus_per_node: The number of GPUs, and of processes, per machine; with 0 there is one process per machine.
        cpus_per_task: CPU cores per process; None means 1.
        memory: Memory per machine, such as 16G.
        time: The wall-clock limit, such as 4h, 30m or 1-12:00:00.
        environment: Variables for the job, in addition to those of the submitting shell that its scheduler passes on.
        setup: Shell lines that run before the command, such as `module load cuda`.
        array: The number of runs of the command, each with a seed of its own.
        seed: The seed of an array's first run; the next run has the next integer.
        max_restarts: How often a preempted job is put back into the queue; None means 10, if the scheduler does that at all.
        options: Settings that only this back end has, such as an account or an image (see `Backend.options`).
        passthrough: Options for the scheduler itself, unchanged, such as --exclusive.
        config: The complete configuration as YAML, as it was at submission, or None for a command without one. The job runs
            from it and does not read again a file that may have changed.
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
    seed: int = 0
    max_restarts: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    passthrough: tuple[str, ...] = ()
    config: str | None = None

    @property
    def tasks_per_node(self) -> int:
        """Return the number of processes per machine."""
        return max(self.gpus_per_node, 1)

    @property
    def task_cpus(self) -> int:
        """Return the number of CPU cores per process."""
        return 1 if self.cpus_per_task is None else self.cpus_per_task

    @property
    def node_cpus(self) -> int:
        """Return the number of CPU cores per machine."""
        return self.task_cpus * self.tasks_per_node

    @property
    def run_name(self) -> str:
        """Return the name of the run that the command writes to.

        It is the name of the job's folder, so that a restart resumes the run and another job does not, or the run that
        LIGHTNING_META_RUN in the job's environment asks to be resumed.
        """
        return self.environment.get("LIGHTNING_META_RUN", self.folder.name)

    @property
    def is_search(self) -> bool:
        """Return whether the command is a search, whose trials Ray starts and stops."""
        return self.command[:1] == ("tune",)

    @property
    def resumes(self) -> bool:
        """Return whether the command, started again, resumes where it was. Any other command begins anew."""
        return self.command[:1] in (("fit",), ("tune",))

    def arguments(self, config: str) -> list[str]:
        """Return the arguments of lightning-meta; `config` is the resolved configuration, a file name or YAML text."""
        return [*self.command] if self.config is None else [self.command[0], "--config", config]


class Status(NamedTuple):
    """The state of a job.

    Attributes:
        state: The state in our words.
        exit_code: The exit status of a job that ended by itself.
        restarts: How often the job was started again.
        detail: The scheduler's own words for the state, or the reason why it is unknown.
    """

    state: State
    exit_code: int | None = None
    restarts: int = 0
    detail: str = ""


class ExistingJob(NamedTuple):
    """A job that the scheduler already has, and its state."""

    id: str
    state: State
