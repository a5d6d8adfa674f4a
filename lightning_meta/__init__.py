"""lightning-meta: meta-learning at scale.

    phi = learner.adapt(episode.support)      # phi_i = f_theta(D_i^tr), theta the parameters of `learner`
    logits = phi(episode.query.x)             # y = f_phi(x)

`lightning_meta.load(path)` gives the learner of a checkpoint, and every learner stands here by its name, such as
`lightning_meta.ProtoNet`. They are imported when they are asked for.

The floors, from the bottom: `core` (the formula as types), `nn` (backbones, inner loop) and `envs` (worlds), `learners` and
`rl` (the algorithms), `training` (Lightning), `config`, `reports` and `evaluation`, `datamodules` (streams of tasks), `search`
and `clusters` (many runs, and runs elsewhere), `cli` (one command). Imports go down only.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lightning_meta.mismatch import watch

if TYPE_CHECKING:
    from lightning_meta.training import load as load

    __version__: str

watch()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("lightning-meta")
    if name == "load":
        return import_module("lightning_meta.training").load
    if name[:1].isupper() and name in (learners := import_module("lightning_meta.learners")).__all__:
        return getattr(learners, name)
    raise AttributeError(f"module 'lightning_meta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "__version__", "load", *import_module("lightning_meta.learners").__all__]
