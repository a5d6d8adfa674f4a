"""Keep messages that users cannot act on off the screen."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LIGHTNING = ("pytorch_lightning", "lightning_fabric")


def quiet() -> None:
    """Keep off the screen what tells a user nothing: an advertisement, and warnings between libraries."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(worth_reading)
    for noise in (
        "LightningCLI's args parameter",
        ".*LeafSpec",
        "Your `IterableDataset` has `__len__` defined",  # every loader worker reads its own meta-batches
        ".*does not have many workers",  # speed/waiting tells whether more would help
        "The number of training batches",  # of a short run
        "The `srun` command is available",  # on a machine of a cluster, though outside of its jobs
        "Checkpoint directory .* exists",  # a resumed run continues in its own
        "Experiment logs directory .* exists and is not empty",  # what CSVLogger would delete there is not in its way
        "The dirpath has changed",  # of a run that was moved, or that a new one begins from
    ):
        warnings.filterwarnings("ignore", noise)


@contextmanager
def only_errors(*names: str, level: int = logging.ERROR) -> Iterator[None]:
    """Keep what these loggers say below `level` off the screen, meanwhile."""
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, was in before.items():
            logging.getLogger(name).setLevel(was)


def worth_reading(record: logging.LogRecord) -> bool:
    return not any(noise in record.getMessage() for noise in ("litlogger", "TPU available"))
