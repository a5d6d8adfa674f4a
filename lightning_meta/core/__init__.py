"""The formula as types: phi = f_theta(D_train), y = f_phi(x); and, with a decision process for a data set, policy =
f_theta(M), judged by its return."""

from lightning_meta.core.agents import MetaRLLearner
from lightning_meta.core.decisions import MDPs, Moved, Policy, Seen, Trajectories, World, choose, log_prob
from lightning_meta.core.errors import InputError
from lightning_meta.core.few_shot import (
    Episode,
    Examples,
    FewShotLearner,
    Outcome,
    Predictor,
    check_examples,
    flat_batch,
    prediction_loss,
    score,
)
from lightning_meta.core.noise import numbered, uniform
from lightning_meta.core.world_rehearsal import rehearse_world

__all__ = [
    "Episode",
    "Examples",
    "FewShotLearner",
    "InputError",
    "MDPs",
    "MetaRLLearner",
    "Moved",
    "Outcome",
    "Policy",
    "Predictor",
    "Seen",
    "Trajectories",
    "World",
    "check_examples",
    "choose",
    "flat_batch",
    "log_prob",
    "numbered",
    "prediction_loss",
    "rehearse_world",
    "score",
    "uniform",
]
