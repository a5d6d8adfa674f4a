"""Learners whose loss stops being finite at a chosen step."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, Outcome, Predictor

AT = 4  # the meta-batch, counted from 1, in which something breaks


class Line(FewShotLearner):
    """Predicts w x. What `spoils` (a loss made of w) is added in meta-batch number `when`, or in all from 0 on."""

    def __init__(self, spoils: Callable[[Tensor], Tensor] | None = None, when: int = AT):
        super().__init__()
        self.w, self.met, self.spoils, self.when = torch.nn.Parameter(torch.ones(())), 0, spoils, when

    def adapt(self, support: Examples) -> Predictor:
        return lambda x: self.w * x + 0 * support.x.sum() + 0 * support.y.sum()  # type: ignore[return-value]

    def loss(self, episode: Episode) -> Outcome:
        self.met += 1
        outcome = super().loss(episode)
        if self.spoils and self.when in (0, self.met):
            return outcome._replace(loss=outcome.loss + self.spoils(self.w))
        return outcome


class OneOfTwo(Line):
    """In the second process the third meta-batch behind the rehearsal has a loss that is not a number, or ends in an error."""

    def __init__(self, error: bool = False):
        super().__init__()
        self.error = error

    def loss(self, episode: Episode) -> Outcome:
        outcome = super().loss(episode)
        if self.met == 4 and torch.distributed.get_rank() == 1:
            if self.error:
                raise InputError("the third meta-batch is damaged: write it again")
            return outcome._replace(loss=outcome.loss + math.inf)
        return outcome
