"""The formula as types: phi = f_theta(D_train), y = f_phi(x); and, with a decision process for a data set, policy =
f_theta(M), judged by its return.

The names are imported when they are asked for, so that a command can answer, or a signal be heeded, before PyTorch is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_meta.core.errors import InputError as InputError

if TYPE_CHECKING:
    from lightning_meta.core.agents import MetaRLLearner as MetaRLLearner
    from lightning_meta.core.decisions import MDPs as MDPs
    from lightning_meta.core.decisions import Moved as Moved
    from lightning_meta.core.decisions import Policy as Policy
    from lightning_meta.core.decisions import Seen as Seen
    from lightning_meta.core.decisions import Trajectories as Trajectories
    from lightning_meta.core.decisions import World as World
    from lightning_meta.core.decisions import choose as choose
    from lightning_meta.core.decisions import log_prob as log_prob
    from lightning_meta.core.few_shot import Episode as Episode
    from lightning_meta.core.few_shot import Examples as Examples
    from lightning_meta.core.few_shot import FewShotLearner as FewShotLearner
    from lightning_meta.core.few_shot import Outcome as Outcome
    from lightning_meta.core.few_shot import Predictor as Predictor
    from lightning_meta.core.few_shot import check_examples as check_examples
    from lightning_meta.core.few_shot import flat_batch as flat_batch
    from lightning_meta.core.few_shot import prediction_loss as prediction_loss
    from lightning_meta.core.few_shot import score as score
    from lightning_meta.core.noise import numbered as numbered
    from lightning_meta.core.noise import uniform as uniform
    from lightning_meta.core.world_rehearsal import rehearse_world as rehearse_world

_FUNCTIONS = ("check_examples", "flat_batch", "prediction_loss", "score")
_NAMES = {
    "agents": ("MetaRLLearner",),
    "decisions": ("MDPs", "Moved", "Policy", "Seen", "Trajectories", "World", "choose", "log_prob"),
    "few_shot": ("Episode", "Examples", "FewShotLearner", "Outcome", "Predictor", *_FUNCTIONS),
    "noise": ("numbered", "uniform"),
    "world_rehearsal": ("rehearse_world",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lightning_meta.core' has no attribute {name!r}")
    return getattr(import_module(f"lightning_meta.core.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
