"""A loader of meta-batches that can resume at any of them."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from datamodules.sampling.meta_batches import MetaBatches
from lightning_meta.core import InputError
from lightning_meta.core.signals import BY_SCHEDULER, BY_USER

Batch = TypeVar("Batch")


class MetaLoader(DataLoader[Batch]):
    """A loader of meta-batches of which every pass is one epoch.

    Its state is its position: epoch and meta-batch. Lightning saves that in a checkpoint; a loader that was given a state
    continues with the very next meta-batch.

    Args:
        stream: The meta-batches.
        num_workers: Processes that load data beside this one.
        epoch: Returns the number of the epoch when a pass begins; by default epochs are counted from 0.
        prepare: Maps each batch, in this process, to what the loader gives; by default it gives the batch itself.
    """

    def __init__(
        self,
        stream: MetaBatches[Batch],
        num_workers: int = 0,
        epoch: Callable[[], int] | None = None,
        prepare: Callable[[Any], Any] | None = None,
    ):
        super().__init__(
            stream,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=partial(begin_worker, os.getpid()),
        )
        self.stream, self.next_epoch = stream, epoch or (lambda: self.epoch + 1)
        self.prepare = prepare or (lambda batch: batch)
        self.epoch, self.position, self._resumed = -1, 0, False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator, where DataLoader has its own iterator type
        if not self._resumed or self.epoch < 0 or self.position >= len(self.stream):
            self.epoch, self.position = self.next_epoch(), 0
        self._resumed = False
        self.stream.epoch, self.stream.start = self.epoch, self.position
        try:
            for batch in super().__iter__():
                self.position += 1
                yield self.prepare(batch)
        except InputError as error:  # that of a worker has its traceback before the message
            traceback.clear_frames(error.__traceback__)  # they hold the workers, each then waited for, 5 seconds long
            raise InputError(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position, self._resumed = state["epoch"], state["position"], True


def begin_worker(parent: int, worker: int) -> None:  # noqa: ARG001  DataLoader's signature
    """Prepare a loader process: end it if its parent was killed meanwhile, and let it ignore signals.

    PyTorch's own watch for the parent begins later and would wait forever. Signals that ask a run to stop are answered by
    the training process, which still needs the batches of its current step.
    """
    if os.getppid() != parent:
        os._exit(1)
    for sign in {*BY_USER, *BY_SCHEDULER}:
        signal.signal(sign, signal.SIG_IGN)
