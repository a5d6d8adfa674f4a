"""Numbers that are not finite: found at the step where they appear, reported in one message, and never saved."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn.utils import get_total_norm

from lightning_meta.core import Episode, InputError, MetaBatch, equal_parts

JUDGED = ("loss", "nll", "accuracy", "mse", "return", "total")  # what must be a number for a score to mean anything
SKIPPED = 50  # steps in a row that a scaler of losses may skip


class Diverged(InputError):  # noqa: N818  what it says in the table of a search
    """Training came to a number that is not finite."""


def largest(tensors: Iterable[Tensor | None]) -> Tensor:
    """The largest absolute value, nan where any is nan; on the device of the tensors, so that asking waits for nothing."""
    found = [tensor.detach() for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    return get_total_norm(found, norm_type=torch.inf) if found else torch.zeros(())


def diverged(trainer: Trainer, what: str, value: Tensor | float, step: int, batch: Any = None) -> Diverged:
    """The error for a `value` that is not finite: at which step, why where that is known, and what is whole. `batch` is what
    the step learnt from."""
    message = f"{what} is {float(value)} at step {step}: "
    if isinstance(batch, Episode | list) and (part := broken_part(batch)):
        message += f"{part} of its meta-batch holds a number that is not finite, so mend the data"
    else:
        message += (
            "lower the learning rates, outer and inner, clip the gradient (--trainer.gradient_clip_val 1, of an agent"
        )
        message += " --model.clip 1) or, with a precision of 16 bits, choose 32"
    whole = last_whole(trainer)
    return Diverged(
        f"{message}. {f'The last finite checkpoint is {whole}' if whole else 'No checkpoint was saved yet'}"
    )


def broken_part(batch: MetaBatch) -> str | None:
    """Name the tensor of a batch that holds a number that is not finite, None where all are finite."""
    for episode in equal_parts(batch):
        for name, part in {"support ": episode.support, "" if episode.is_flat else "query ": episode.query}.items():
            for letter, tensor in zip("xy", part, strict=True):
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    return name + letter
    return None


def last_whole(trainer: Trainer) -> Path | None:
    """The newest checkpoint of this run or, of a resumed one that has saved none, that which it went on from."""
    callbacks = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    saved = [Path(path) for one in callbacks for path in (one.best_model_path, one.last_model_path) if path]
    there = [path for path in saved if path.is_file()] or ([Path(trainer.ckpt_path)] if trainer.ckpt_path else [])
    return max(there, key=lambda path: path.stat().st_mtime, default=None)
