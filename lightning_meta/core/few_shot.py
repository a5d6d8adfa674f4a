"""The formula as types: phi = f_theta(D_train), y = f_phi(x).

Axis names used everywhere: `tasks` (the meta-batch), `n` (examples of one task), `ways` (classes of one task),
`d` (features or regression outputs). Every tensor leads with `tasks`.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lightning_meta.core.errors import InputError


class Examples(NamedTuple):
    """Labelled examples of a batch of tasks.

    x: [tasks, n, *shape].
    y: [tasks, n] class numbers 0..ways-1 (of any integer type), local to each task; or [tasks, n, d] regression targets
        (float).
    """

    x: Shaped[Tensor, "tasks n *shape"]
    y: Shaped[Tensor, "tasks n *d"]

    @property
    def ways(self) -> int:
        """Number of classes, by the largest label, for every class of a task has support examples."""
        if self.y.is_floating_point():
            raise InputError("ways came for regression targets (float y); only class numbers (long y) have ways")
        return int(self.y.max()) + 1


def check_examples(examples: Examples) -> None:
    """Raise InputError where y does not fit x: it is [tasks, n] class numbers, or [tasks, n, d] regression targets."""
    x, y = examples
    real = y.is_floating_point()
    if y.ndim != (3 if real else 2) or y.shape[:2] != x.shape[:2]:
        expected = (
            "regression targets (float) are [tasks, n, d], d = 1 for one number" if real else "class numbers [tasks, n]"
        )
        raise InputError(f"y is {list(y.shape)} for x {list(x.shape)}, but {expected}: give y that shape")


class Episode(NamedTuple):
    """A meta-batch of tasks: a learner adapts to the support set D_i^tr of task i and is scored on its queries D_i^ts.

    A flat batch, as ordinary supervised training reads them, is an episode with an empty support set.
    """

    support: Examples
    query: Examples

    @property
    def is_flat(self) -> bool:
        """True of a batch of ordinary supervised training, which has nothing to adapt to."""
        return not self.support.x.shape[1]


def to_floats(episode: Episode) -> Episode:
    """Return the episode with bytes of images, 0..255, as floats in 0..1 of the default type; other inputs are unchanged.

    Streams of images hand over bytes, a quarter of the size of floats, and they become floats on the device.
    """
    return Episode(*(Examples(_to_floats(part.x), part.y) for part in episode))


def _to_floats(x: Tensor) -> Tensor:
    return x.to(torch.get_default_dtype()).div_(255) if x.dtype is torch.uint8 else x


def flat_batch(examples: Examples) -> Episode:
    """Make an episode that has these examples as queries and an empty support set."""
    return Episode(Examples(examples.x[:, :0], examples.y[:, :0]), examples)


class Predictor(ABC):
    """phi, the adapted model, as a value: call it, keep it, save it with `torch.save`.

    It may refer to theta (an embedding that all tasks share), but never to another task.
    """

    @abstractmethod
    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n out"]:
        """Predict x: [tasks, n, *shape] -> logits [tasks, n, ways], or regression outputs [tasks, n, d]."""


class Outcome(NamedTuple):
    """The value of a meta-objective.

    loss: The loss to minimise, a scalar.
    prediction: The query predictions, [tasks, n, out].
    """

    loss: Float[Tensor, ""]
    prediction: Float[Tensor, "tasks n out"]


class FewShotLearner(nn.Module, ABC):
    """f_theta: its parameters are theta, `adapt` makes phi, and `loss` is the meta-objective over a batch of tasks.

    To add a learner, write `adapt`. Override `loss` only where the meta-objective is not the query loss of phi. The methods
    after it describe what some learners can do besides; each has a default for those that cannot.
    """

    # Declarations of a subclass, or of an instance in its __init__:
    test_steps: int = 0  # inner steps from theta to phi in evaluation; 0 for learners without an inner loop
    flat: bool = False  # whether `loss` takes flat batches, episodes without support over all training classes
    regression: bool = True  # whether it can learn real targets, and not only classes
    label_dependence: str | None = None  # why permuting the labels does not just permute the logits, if it does not
    small: ClassVar[dict[str, Any]] = {}  # arguments that make it small, for a test in seconds

    # As measured on an episode (`lightning_meta.training.evaluation.observe`):
    transductive: bool | None = None  # whether predictions for a query depend on the others; None: not measured yet
    noisy: bool = False  # whether predictions change from call to call

    @abstractmethod
    def adapt(self, support: Examples) -> Predictor:
        """phi = f_theta(D^tr). Pure: writes nothing on the learner, so several phi live side by side.

        (In training mode a backbone's running statistics move, as those of any torch module do.)
        """

    def loss(self, episode: Episode) -> Outcome:
        """The meta-objective, by default L(phi, D^ts), the mean over tasks and queries."""
        prediction = self.adapt(episode.support)(episode.query.x)
        return Outcome(prediction_loss(prediction, episode.query.y), prediction)

    def check_batch(self, episode: Episode) -> None:
        """Raise InputError where a training batch is not of the kind that `loss` takes."""
        if episode.is_flat and not self.flat:
            raise InputError(
                f"{type(self).__name__} learns from episodes, but the data give flat batches: set data.flat_batch to 0"
            )
        if self.flat and not episode.is_flat:
            raise InputError(
                f"{type(self).__name__} learns from flat batches of all classes, but the data give episodes: set"
                " data.flat_batch to the examples of a batch, 32 say"
            )

    def adapt_steps(self, support: Examples, steps: int) -> Predictor:  # noqa: ARG002  its default refuses
        """phi after `steps` inner steps, for learners with `test_steps` > 0. The adaptation curve is read from it."""
        raise InputError(f"{type(self).__name__} has no inner loop, so it has no predictor after {steps} steps")

    def predict_in_turn(self, support: Examples) -> Tensor | None:  # noqa: ARG002  its default has none
        """Predictions [tasks, n, ways] for each support example before its own label is seen.

        Learners that read the support set in sequence and learn from that too have them (MANN); all others give None.
        """
        return None

    def diagnostics(self) -> dict[str, float]:
        """Scalars of theta that are worth a curve, such as learned inner rates, by name."""
        return {}

    def protocols(self) -> list["FewShotLearner"]:
        """This learner, and after it the same theta under every other protocol by which it can be scored.

        The protocols differ in what a prediction for a query may see. What a backbone does is known after its first pass.
        """
        return [self]

    def batch_statistics(self) -> str | None:
        """The statistics that batch normalisation uses in evaluation, or None. Frozen backbones keep running statistics."""
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return None
        return "running" if all(norm.track_running_stats for norm in norms) else "of the batch"


def prediction_loss(prediction: Float[Tensor, "*tasks n out"], y: Shaped[Tensor, "..."]) -> Float[Tensor, ""]:
    """Cross-entropy for class numbers (y of integers), or mean squared error for targets (float y), over all examples.

    Raises InputError where there are not as many targets as predictions.
    """
    expected = prediction.shape if y.is_floating_point() else prediction.shape[:-1]
    if y.shape != expected:
        raise InputError(
            f"y is {list(y.shape)}, but predictions {list(prediction.shape)} need {list(expected)}: give y that shape"
        )
    if y.is_floating_point():
        return F.mse_loss(prediction, y)
    return F.cross_entropy(prediction.flatten(0, -2), y.flatten().long())


def score(prediction: Float[Tensor, "tasks n out"], y: Shaped[Tensor, "tasks n *d"]) -> Float[Tensor, " tasks"]:
    """The score of each task, [tasks]: accuracy in 0..1 for class numbers, mean squared error for regression targets."""
    if y.is_floating_point():
        return (prediction - y).square().mean(dim=(1, 2))
    return (prediction.argmax(-1) == y).float().mean(1)
