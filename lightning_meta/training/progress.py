"""How far a training is, for a log file: a line a minute in the place of a bar."""

import sys
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class ProgressLines(Callback):
    """Where standard output is no terminal, tells every `seconds` how many steps are done, how long one takes, and how long
    the rest will take at this pace, with the validations that there have been. The first line comes after `first` seconds."""

    def __init__(self, seconds: int | float = 60, first: int | float = 10):
        self.seconds, self.first = seconds, first
        self.began, self.steps, self.due = 0.0, 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's signature
        self.began, self.steps = time.monotonic(), trainer.global_step
        self.due = self.began + self.first

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        now, done = time.monotonic(), trainer.global_step - self.steps
        if now < self.due or not done or not trainer.is_global_zero or sys.stdout.isatty():
            return
        self.due = now + self.seconds
        print(line(trainer.global_step, trainer.estimated_stepping_batches, (now - self.began) / done), flush=True)


def line(step: int, steps: int | float, pace: float) -> str:
    """The steps done, of how many, and at a `pace` in seconds a step the time to go; `steps` may be without end."""
    told = f"step {step:,}" + (f" of {steps:,}" if steps != float("inf") else "")
    told += f", {pace:.2g} s a step" if pace >= 0.01 else f", {1 / pace:,.0f} steps a second"
    return told if steps == float("inf") else f"{told}, about {spoken((steps - step) * pace)} to go"


def spoken(seconds: float) -> str:
    """A span of time in the unit that suits it: 40 s, 12 min, 14 h."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
