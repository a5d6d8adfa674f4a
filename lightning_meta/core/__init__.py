"""The formula as types: phi = f_theta(D_train) and y = f_phi(x) for labelled data, policy = f_theta(M) for MDPs.

The names are imported when they are first used, so that a command can answer, or handle a signal, before PyTorch is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_meta.core.errors import InputError as InputError
from lightning_meta.core.errors import check_at_least as check_at_least

if TYPE_CHECKING:
    from lightning_meta.core.few_shot import Episode as Episode
    from lightning_meta.core.few_shot import Examples as Examples
    from lightning_meta.core.few_shot import FewShotLearner as FewShotLearner
    from lightning_meta.core.few_shot import Outcome as Outcome
    from lightning_meta.core.few_shot import Predictor as Predictor
    from lightning_meta.core.few_shot import check_examples as check_examples
    from lightning_meta.core.few_shot import flat_batch as flat_batch
    from lightning_meta.core.few_shot import prediction_loss as prediction_loss
    from lightning_meta.core.few_shot import score as score
    from lightning_meta.core.few_shot import to_floats as to_floats
    from lightning_meta.core.mdps import MDPs as MDPs
    from lightning_meta.core.meta_batch import MetaBatch as MetaBatch
    from lightning_meta.core.meta_batch import count_tasks as count_tasks
    from lightning_meta.core.meta_batch import equal_parts as equal_parts
    from lightning_meta.core.meta_batch import join_tasks as join_tasks
    from lightning_meta.core.meta_batch import mean_loss as mean_loss
    from lightning_meta.core.meta_batch import one_of_each_size as one_of_each_size
    from lightning_meta.core.meta_rl import EvaluationBudget as EvaluationBudget
    from lightning_meta.core.meta_rl import MetaRLLearner as MetaRLLearner
    from lightning_meta.core.noise import numbered as numbered
    from lightning_meta.core.noise import uniform as uniform
    from lightning_meta.core.policy import Policy as Policy
    from lightning_meta.core.policy import log_prob as log_prob
    from lightning_meta.core.policy import sample_action as sample_action
    from lightning_meta.core.trajectory import TimeStep as TimeStep
    from lightning_meta.core.trajectory import Trajectory as Trajectory
    from lightning_meta.core.trajectory import Transition as Transition
    from lightning_meta.core.world import World as World
    from lightning_meta.core.world_rehearsal import rehearse_world as rehearse_world

_FUNCTIONS = ("check_examples", "flat_batch", "prediction_loss", "score", "to_floats")
_NAMES = {
    "few_shot": ("Episode", "Examples", "FewShotLearner", "Outcome", "Predictor", *_FUNCTIONS),
    "mdps": ("MDPs",),
    "meta_batch": ("MetaBatch", "count_tasks", "equal_parts", "join_tasks", "mean_loss", "one_of_each_size"),
    "meta_rl": ("EvaluationBudget", "MetaRLLearner"),
    "noise": ("numbered", "uniform"),
    "policy": ("Policy", "log_prob", "sample_action"),
    "trajectory": ("TimeStep", "Trajectory", "Transition"),
    "world": ("World",),
    "world_rehearsal": ("rehearse_world",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lightning_meta.core' has no attribute {name!r}")
    return getattr(import_module(f"lightning_meta.core.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
