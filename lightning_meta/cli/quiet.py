"""What is kept off the screen."""

import logging
import warnings


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
        "Checkpoint directory .* exists",  # a resumed run goes on in its own
        "Experiment logs directory .* exists and is not empty",  # what CSVLogger would delete there is not in its way
        "The dirpath has changed",  # of a run that was moved, or that a new one begins from
    ):
        warnings.filterwarnings("ignore", noise)


def worth_reading(record: logging.LogRecord) -> bool:
    return not any(noise in record.getMessage() for noise in ("litlogger", "TPU available"))
