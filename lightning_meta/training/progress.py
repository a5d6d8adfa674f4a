"""Report at the start of a training how long it takes and how much memory, and its progress in a log file."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, Timer

from lightning_meta.core.signals import preemptible
from lightning_meta.machine.finding import size_text
from lightning_meta.machine.memory import available_memory, total_memory
from lightning_meta.training.evaluation import peak_memory, reserved_memory
from lightning_meta.training.forecast import Forecast, rate, spoken, validations_until

TIGHT, SCARCE = 0.9, 0.05  # shares of the memory: in use by the run, and free on the machine


class Memory(NamedTuple):
    """Memory of a training, in bytes: at most in use so far, all that there is, and free now; None where unknown."""

    used: int
    total: int | None
    free: int | None


class ProgressReport(Callback):
    """Tells after the first steps how long the training takes and how much memory, and warns where that does not fit; after
    the first validation once more. Where standard output is not a terminal, it also prints a line per minute.

    Args:
        seconds: The time between two lines of a log file.
        clock: What tells the time, in seconds.
    """

    def __init__(self, seconds: int | float = 60, clock: Callable[[], float] = time.monotonic):
        self.seconds, self.clock = seconds, clock
        self.forecast, self.first, self.steps = Forecast(), 0, 0.0
        self.told, self.warned = False, set[str]()
        self.due = float("inf")  # of the next line

    def on_train_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self.forecast, self.told, self.warned = Forecast(), False, set()
        self.first, self.steps = trainer.global_step, float(trainer.estimated_stepping_batches)
        self.due = self.clock() + self.seconds

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if not trainer.is_global_zero or trainer.global_step == self.first:
            return
        self.forecast.end_step(trainer.global_step, self.clock())
        if not self.told and self.forecast.is_ready:
            self.told, self.due = True, self.forecast.now + self.seconds
            self.open(trainer)
        elif self.forecast.now >= self.due and not sys.stdout.isatty():
            self.due = self.forecast.now + self.seconds
            say(trainer, self.line(trainer))

    def on_validation_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.is_global_zero and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.forecast.begin_validation(self.clock())

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        fits = trainer.is_global_zero and trainer.state.fn == "fit" and not trainer.sanity_checking
        if fits and (now := self.clock()) >= self.due and not sys.stdout.isatty():
            self.due = now + self.seconds
            say(trainer, f"{done(trainer.global_step, self.steps)}, validating")

    def on_validation_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if not trainer.is_global_zero or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.forecast.end_validation(self.clock())
        if len(self.forecast.validations) == 1 and self.told:
            left = self.validations_left(trainer)
            if left and self.steps != float("inf"):
                to_go = spoken(self.forecast.left(self.steps, left))
                say(
                    trainer,
                    f"a validation takes {spoken(self.forecast.validation)}: about {to_go} to go, with {left} more",
                )
            self.warn(trainer, memory_of(trainer))

    def open(self, trainer: Trainer) -> None:
        """Tell the time and the memory of the whole training, and warn where they do not fit."""
        memory = memory_of(trainer)
        text = f"{self.extent(trainer)} at {rate(self.forecast.pace)}"
        if self.steps != float("inf"):
            left = self.validations_left(trainer)
            text = f"about {spoken(self.forecast.left(self.steps, left))} for {text}"
            if left:
                number = f"{left} validation{'s' * (left > 1)}"
                timed = self.forecast.validation
                text += f", with {number} of {spoken(timed)}" if timed else f", and {number} to time"
            if any(isinstance(one, EarlyStopping) for one in trainer.callbacks):  # type: ignore[attr-defined]
                text += ", unless EarlyStopping ends it before"
        say(trainer, f"{text}; memory {size_text(memory.used)}{of_all(memory.total)}")
        self.warn(trainer, memory)

    def extent(self, trainer: Trainer) -> str:
        """Return what there is to train, such as: 8 epochs of 500 meta-batches."""
        batches, epochs = trainer.num_training_batches, trainer.max_epochs
        if self.steps == float("inf"):
            return "steps without end"
        if self.first == 0 and epochs and trainer.accumulate_grad_batches == 1 and epochs * batches == self.steps:
            return f"{epochs} epoch{'s' * (epochs > 1)} of {batches:,.0f} meta-batches"
        return f"{self.steps - self.first:,.0f} {'more ' if self.first else ''}steps"

    def line(self, trainer: Trainer) -> str:
        """Return the line of a log file: the steps done, the scores of the latest one, the pace and the time to go."""
        scores = {name.removeprefix("meta_train/"): float(v) for name, v in trainer.progress_bar_metrics.items()}
        parts = [done(trainer.global_step, self.steps), *(f"{name} {value:.4g}" for name, value in scores.items())]
        parts.append(rate(self.forecast.pace))
        if self.steps != float("inf"):
            parts.append(f"about {spoken(self.forecast.left(self.steps, self.validations_left(trainer)))} to go")
        return ", ".join(parts)

    def validations_left(self, trainer: Trainer) -> int:
        """Return the number of validations to come; those that are due by the clock are not counted."""
        every = trainer.val_check_batch
        if not trainer.enable_validation or every is None:
            return 0
        plan = (trainer.num_training_batches, trainer.accumulate_grad_batches, every, trainer.check_val_every_n_epoch)
        return validations_until(self.steps, *plan) - validations_until(trainer.global_step, *plan)

    def warn(self, trainer: Trainer, memory: Memory) -> None:
        """Say, once each, that the memory may run out, and that the time will."""
        warnings = {"memory": tight(memory)}
        if self.steps != float("inf"):
            left = self.forecast.left(self.steps, self.validations_left(trainer))
            for limit in limits(trainer):
                warnings[limit.what] = too_long(left, limit, trainer.global_step, int(self.steps))
        for kind, text in warnings.items():
            if text and kind not in self.warned:
                self.warned.add(kind)
                say(trainer, f"warning: {text}")


class Limit(NamedTuple):
    """An end of the run's time: what sets it, the seconds until then, and the remedy."""

    what: str
    allowed: float
    remedy: str


def limits(trainer: Trainer) -> list[Limit]:
    """Return the limits of a run's time: that of the trainer, and that of a Slurm job which is not started again."""
    found = [
        Limit("trainer.max_time ends this run", one.time_remaining() or 0.0, "raise it")
        for one in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(one, Timer) and one.time_remaining() is not None
    ]
    if (end := os.environ.get("SLURM_JOB_END_TIME", "")).isdigit() and not preemptible():
        found.append(Limit("Slurm ends this job", float(end) - time.time(), "submit it with a longer --time"))
    return found


def memory_of(trainer: Trainer) -> Memory:
    """Return the memory of a training: of its GPU, or of the machine, which all processes of the run on it share."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return Memory(*reserved_memory(device))
    return Memory(peak_memory(device)[0] * trainer.num_devices, total_memory(), available_memory())


def of_all(total: int | None) -> str:
    return "" if total is None else f" of {size_text(total)}"


def tight(memory: Memory) -> str | None:
    """Return a warning where the memory may run out."""
    if memory.total and memory.used > TIGHT * memory.total:
        return f"that is {memory.used / memory.total:.0%} of the memory, and validation may need more: lower data.meta_batch"
    if memory.total and memory.free is not None and memory.free < SCARCE * memory.total:
        return f"only {size_text(memory.free)} of memory is free: end other programs, or lower data.meta_batch"
    return None


def too_long(left: float, limit: Limit, step: int, steps: int) -> str | None:
    """Return a warning where a limit ends the training before its last step.

    Args:
        left: Seconds that the training has to go.
        limit: The limit.
        step: The steps done.
        steps: The steps of the whole training.
    """
    if left <= limit.allowed:
        return None
    reached = step + int((steps - step) * max(limit.allowed, 0) / left)
    return (
        f"{limit.what} in {spoken(limit.allowed)}, at about step {reached:,} of {steps:,}: {limit.remedy}, or lower"
        " trainer.max_epochs"
    )


def done(step: int, steps: float) -> str:
    """Return the steps done, of how many."""
    return f"step {step:,}" + (f" of {steps:,.0f}" if steps != float("inf") else "")


def say(trainer: Trainer, text: str) -> None:
    """Print a line, above the progress bar where there is one."""
    bar = trainer.progress_bar_callback
    if bar is not None and getattr(bar, "is_enabled", True) and sys.stdout.isatty():
        bar.print(text)
    else:
        print(text, flush=True)
