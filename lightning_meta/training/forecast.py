"""The time that a training has still to go, foretold from the steps and validations that there have been."""

import math

ENOUGH_STEPS, ENOUGH_SECONDS = 20, 5.0  # measured after the warm-up; either is enough to foretell from


class Forecast:
    """Durations of steps and validations, and what follows from them.

    The first step is the warm-up, in which loaders and kernels start: it is not measured. The clock is the caller's; all times
    are in seconds.
    """

    def __init__(self) -> None:
        self.step, self.now = 0, 0.0  # of the latest step
        self.warm: tuple[int, float] | None = None  # the step and the time at which measuring began
        self.validating_since = 0.0
        self.paused, self.pending = (
            0.0,
            0.0,
        )  # seconds of validation while measuring: before the latest step, and after it
        self.validations: list[float] = []

    def end_step(self, step: int, now: int | float) -> None:
        """Note the number of steps that are done."""
        self.step, self.now = step, now
        self.paused, self.pending = self.paused + self.pending, 0.0
        if self.warm is None:
            self.warm, self.paused = (step, now), 0.0

    def begin_validation(self, now: int | float) -> None:
        self.validating_since = now

    def end_validation(self, now: int | float) -> None:
        self.validations.append(now - self.validating_since)
        self.pending += self.validations[-1]

    @property
    def measured(self) -> tuple[int, float]:
        """Steps after the warm-up, and the seconds that they took together."""
        if self.warm is None:
            return 0, 0.0
        return self.step - self.warm[0], self.now - self.warm[1] - self.paused

    @property
    def is_ready(self) -> bool:
        """Return whether enough has been measured for a forecast."""
        steps, seconds = self.measured
        return steps >= ENOUGH_STEPS or (steps > 0 and seconds >= ENOUGH_SECONDS)

    @property
    def pace(self) -> float:
        """Seconds per step."""
        steps, seconds = self.measured
        return max(seconds, 0.0) / max(steps, 1)

    @property
    def validation(self) -> float:
        """Seconds per validation; 0 before the first."""
        return sum(self.validations) / max(len(self.validations), 1)

    def left(self, steps: int | float, validations: int) -> float:
        """Return the seconds that are left, of a training of `steps` steps with `validations` validations still to come."""
        return (steps - self.step) * self.pace + validations * self.validation


def validations_until(
    step: int | float, batches: int | float, accumulate: int, every: int | float, epochs: int | None
) -> int:
    """Return the number of validations in the first steps of a training.

    Args:
        step: The steps of the optimiser.
        batches: Meta-batches per epoch.
        accumulate: Meta-batches per step; an epoch's last step may have fewer.
        every: Meta-batches from a validation to the next.
        epochs: Validate once per this number of epochs, at meta-batches counted within the epoch; None to count across epochs.
    """
    if math.inf in (step, batches, every):
        return 0
    if epochs is None:
        return int(step * accumulate // every)
    whole, rest = divmod(step, math.ceil(batches / accumulate))
    count = whole // epochs * (batches // every)
    return int(count + (rest * accumulate // every if (whole + 1) % epochs == 0 else 0))


def spoken(seconds: int | float) -> str:
    """Return a span of time in the unit that suits it: 40 s, 12 min, 14 h."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def rate(pace: int | float) -> str:
    """Return a pace in seconds per step as text: 5 s per step, 12.3 steps/s."""
    if pace >= 1:
        return f"{pace:.2g} s per step" if pace < 10 else f"{pace:.0f} s per step"
    return f"{1 / max(pace, 1e-6):.3g} steps/s" if pace > 0.001 else f"{1 / max(pace, 1e-6):,.0f} steps/s"
