"""End a run of one or several processes after an error: all processes together, with one message."""

import os
import re
import signal
import subprocess
import sys
from typing import NoReturn

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from lightning_meta.core import InputError
from lightning_meta.core.distributed import SharedError
from lightning_meta.core.files import REMEDIES, cannot_write
from lightning_meta.training.preemption import launched

PATIENCE = 20.0  # seconds, for the other processes of a run to end
LOST = r"(?i)connection (closed|reset|refused)|broken pipe|nccl|gloo"


def raised_by_one(error: Exception, trainer: Trainer) -> Exception:
    """The error to end with: one that all processes raise is the first one's to print, and one that this process raises alone
    ends those that it started."""
    if isinstance(error, SharedError):
        leave_group()
        if not trainer.is_global_zero:
            end_at_once(0 if launched(trainer) else 2)
        wait_for_launched(trainer)
    elif trainer.strategy.launcher is not None:
        trainer.strategy.launcher.kill(signal.SIGKILL)
    if isinstance(error, MisconfigurationException | ModuleNotFoundError):  # they say what to set, or to install
        return InputError(str(error))
    if isinstance(error, RuntimeError) and "conditioned on metric" in str(error):  # of an EarlyStopping
        name = re.search(r"conditioned on metric `([^`]*)`", str(error))
        return InputError(
            f"EarlyStopping monitors {name and name.group(1)!r}, which is not logged: choose from"
            f" {', '.join(sorted(trainer.callback_metrics))}"
        )
    if isinstance(error, OSError) and error.errno in REMEDIES and error.filename is None:  # TensorBoard's event file
        folder = getattr(trainer.logger, "log_dir", None) or trainer.default_root_dir
        return InputError(cannot_write(folder, error))
    if isinstance(error, RuntimeError) and trainer.world_size > 1 and re.search(LOST, str(error)):
        return InputError(
            "another process of this run has ended, so this one cannot continue: the reason is in its message"
        )
    return error


def said(error: BaseException) -> str:
    """Return the message of our own error if the parser wrapped one, otherwise the message of this error."""
    inner = error.__cause__
    while inner and not isinstance(inner, InputError):
        inner = inner.__cause__
    return str(inner or error)


def end_at_once(status: int) -> NoReturn:
    """End this process. An interpreter that is taken down in order waits for its threads, and those of a process group whose
    peers have left may not end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def wait_for_launched(trainer: Trainer) -> None:
    """Let the processes that this one started end, so that none outlives the command; kill one that does not."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def leave_group() -> None:
    """gloo's threads abort an interpreter that ends before them."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
