"""The base of the gradient-based learners, whose phi is the network's own weights after a few inner steps."""

import copy
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, Outcome, Predictor, prediction_loss
from lightning_meta.learners._embedding import check_outputs, membership
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork

Step = TypeVar("Step")


@dataclass(frozen=True, eq=False)
class FastWeights(Predictor):
    """phi of a gradient-based learner.

    network: The network that runs with these weights.
    weights: Weights of each task by name, each [tasks, *its shape]; names that are missing are theta's.
    support: What queries are normalised by besides themselves, [tasks, n', *shape]: with `batch_stats: support` the
        inputs of the support set, else nothing, n' = 0.
    """

    network: TaskNetwork
    weights: Weights
    support: Tensor

    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n out"]:
        def predict(x: Tensor, weights: Weights, support: Tensor) -> Tensor:
            return self.network.predict(weights, x, support)

        return self.network.over_tasks(predict, x, self.weights, self.support)


class GradientLearner(FewShotLearner):
    """A learner whose phi is the weights of a network after some inner steps. To add one, write `descend`.

    This class leaves the objective to FewShotLearner; `UnrolledLearner` has the usual one. A learner with an objective of
    its own writes `loss` and ends it with `self.network.track(support.x)`.

    Args:
        network: Network whose weights are a part of theta.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; None for as many as in training.
    """

    exact = False  # whether the inner loop is in float32 in runs of bfloat16 too
    label_dependence = "the head, which is a part of theta, starts with other weights for each label"

    def __init__(self, network: TaskNetwork, inner_steps: int, test_steps: int | None):
        super().__init__()
        test_steps = inner_steps if test_steps is None else test_steps
        if inner_steps < 0 or test_steps < 0:
            raise InputError(f"inner_steps is {inner_steps} and test_steps {test_steps}; both must be 0 or more")
        self.network, self.inner_steps, self.test_steps = network, inner_steps, test_steps

    @abstractmethod
    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        """The weights of ONE task before its first inner step, and after each of `steps` inner steps."""

    def adapt(self, support: Examples) -> FastWeights:
        """phi after `inner_steps` in training mode; in evaluation mode after `test_steps`, and without its graph."""
        return self.adapt_steps(support, self.inner_steps if self.training else self.test_steps)

    def adapt_steps(self, support: Examples, steps: int) -> FastWeights:
        with taking_gradients(support, graph=self.training and torch.is_grad_enabled(), exact=self.exact) as support:
            outputs = self.check_support(support)
            weights = self.network.over_tasks(lambda x, y: last(self.descend(Task(x, y, outputs), steps)), *support)
            return FastWeights(self.network, weights, self.network.context(support.x))

    def check_support(self, support: Examples) -> int:
        """Outputs that the tasks need. Raises InputError where the head has another number, or a class no examples."""
        if self.network.outputs is None:  # each task makes its own head
            membership(support, type(self).__name__)
            return support.ways
        check_outputs(self, support, self.network.outputs)
        return self.network.outputs

    def query_losses(self, episode: Episode) -> tuple[Float[Tensor, " steps"], Float[Tensor, "tasks n out"]]:
        """The query loss after each of `inner_steps` inner steps, and the query predictions after the last."""
        (support, query), outputs = episode, self.check_support(episode.support)

        def predictions(x: Tensor, y: Tensor, queries: Tensor) -> list[Tensor]:
            path = islice(self.descend(Task(x, y, outputs), self.inner_steps), 1, None)
            return [self.network.predict(weights, queries, x) for weights in path]

        with in_float32(support.x.device.type, self.exact):
            path = self.network.over_tasks(predictions, *support, query.x)
        return torch.stack([prediction_loss(prediction, query.y) for prediction in path]), path[-1]

    def protocols(self) -> list[FewShotLearner]:
        return both_protocols(self, self.network)

    def batch_statistics(self) -> str | None:
        return self.network.batch_stats if self.network.normalises else super().batch_statistics()


class UnrolledLearner(GradientLearner):
    """A GradientLearner that is trained on the query loss at phi, differentiated through its inner steps."""

    def loss(self, episode: Episode) -> Outcome:
        outcome = super().loss(episode)
        self.network.track(episode.support.x)
        return outcome


def both_protocols(learner: FewShotLearner, network: TaskNetwork) -> list[FewShotLearner]:
    """The learner and, where its `network` normalises by a batch, the same theta normalised by the other kind of batch."""
    if not network.normalises or network.batch_stats == "running":
        return [learner]
    other = copy.copy(learner)
    other._modules = dict(learner._modules)  # which a shallow copy shares
    other.network = network.normalised_by("support" if network.batch_stats == "transductive" else "transductive")
    other.transductive = None
    return [learner, other]


@contextmanager
def taking_gradients(support: Examples, graph: bool, exact: bool = False) -> Iterator[Examples]:
    """Within this context an inner loop may take gradients, whatever the mode of autograd outside; gives a support set that
    may be differentiated through. With `graph` its result can be differentiated too; `exact` as in `in_float32`."""
    with torch.inference_mode(False), torch.set_grad_enabled(graph), in_float32(support.x.device.type, exact):
        yield Examples(*(part.clone() if part.is_inference() else part for part in support))


def in_float32(device: str, exact: bool = False) -> AbstractContextManager[object]:
    """Turn float16 off, and with `exact` bfloat16 too: the range of float16 is too short for inner gradients, which no loss
    scaler sees."""
    half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    return torch.autocast(device, enabled=False) if half or exact else nullcontext()


def last(steps: Iterator[Step]) -> Step:
    """The last of an iterator that gives one or more."""
    (final,) = deque(steps, maxlen=1)
    return final
