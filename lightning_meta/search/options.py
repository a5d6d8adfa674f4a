"""Options of a search."""

from dataclasses import dataclass, field

from lightning_meta.core import InputError


@dataclass
class Search:
    """Search over configurations.

    Args:
        space: what varies: dotted keys of the configuration, and for each where its values come from: `uniform`,
            `loguniform`, `randint` or `lograndint: [low, high]`, both included, `choice: [...]` or `grid: [...]`. A choice
            may be between classes, each a `class_path` with its `init_args`; what is a range in there exists only under it.
        trials: how many configurations are tried, of a population all at once; with `grid`, how many times each point is.
        start: configurations to begin with, each some keys of the space and their values; the trials take them in turn.
        scheduler: who stops, pauses or changes a trial, by `class_path` and `init_args`: any of ray.tune.schedulers, such
            as PopulationBasedTraining, pb2.PB2, AsyncHyperBandScheduler, MedianStoppingRule. Its unit of time is a
            validation. By default nobody.
        searcher: who proposes configurations, such as ray.tune.search.optuna.OptunaSearch. By default they are random.
        objective: what is to become small, as logged in validation; several for a searcher that can, of which
            `meta_val/shots/K/error` is the error at K of the `val_shots`.
        cpus: CPU cores of a process of a trial.
        gpus: GPUs of a process of a trial, or a fraction.
        workers: processes of a trial, which train by DDP.
        concurrent: trials that run at the same time; by default as many as there is room for.
        retries: how often a trial whose worker or node died continues from its last checkpoint.
        hours: wall-clock limit of the search; the trials are then stopped and judged as they are.
        seed: names the random choices of the search.
        storage: folder or URL that all nodes see, for the checkpoints of the trials; by default the search's own folder.
    """

    space: dict[str, dict]  # plain dictionaries, of which the parser makes no objects
    trials: int = 8
    start: list[dict] = field(default_factory=list)
    scheduler: dict | None = None
    searcher: dict | None = None
    objective: str | list[str] = "meta_val/error"
    cpus: float = 1.0
    gpus: float = 0.0
    workers: int = 1
    concurrent: int | None = None
    retries: int = 3
    hours: float | None = None
    seed: int = 0
    storage: str | None = None

    def __post_init__(self) -> None:
        for name, least in {"trials": 1, "workers": 1, "retries": 0, "cpus": 0, "gpus": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"search.{name} is {getattr(self, name)}: give {least} or more")
        for name in ("concurrent", "hours"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise InputError(f"search.{name} is {getattr(self, name)}: give more than 0, or leave it out")
        if self.workers > 1 and self.gpus % 1:
            raise InputError(
                f"search.gpus is {self.gpus} with {self.workers} workers: processes that train together need whole GPUs"
            )
        if self.cpus == 0 and self.gpus == 0:
            raise InputError("search.cpus and search.gpus are both 0: a trial needs some room")

    @property
    def objectives(self) -> list[str]:
        return [self.objective] if isinstance(self.objective, str) else self.objective
