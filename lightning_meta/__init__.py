"""lightning-meta: meta-learning at scale.

    phi = learner.adapt(episode.support)      # phi_i = f_theta(D_i^tr), theta the parameters of `learner`
    logits = phi(episode.query.x)             # y = f_phi(x)

`lightning_meta.load(path)` gives the learner of a checkpoint, and every learner stands here by its name, such as
`lightning_meta.ProtoNet`. `FewShotClassifier` and `FewShotRegressor` are learners with scikit-learn's interface. `evaluate`,
`compare` and `tune` do what the commands `test`, `compare` and `tune` do, with data modules of `datamodules`. All are
imported when they are asked for.

The floors, from the bottom: `core` (the formula as types), `nn` (backbones, inner loop) and `envs` (worlds), `learners` and
`rl` (the algorithms), `training` (Lightning), `config`, `reports` and `evaluation`, `datamodules` (streams of tasks), `search`
and `clusters` (many runs, and runs elsewhere), `estimators` (phi to use), `cli` (one command). Imports go down only.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lightning_meta.mismatch import watch

if TYPE_CHECKING:
    from lightning_meta.estimators import FewShotClassifier as FewShotClassifier
    from lightning_meta.estimators import FewShotRegressor as FewShotRegressor
    from lightning_meta.evaluation.compare import compare as compare
    from lightning_meta.evaluation.evaluate import evaluate as evaluate
    from lightning_meta.search.start import tune as tune
    from lightning_meta.training import load as load

    __version__: str

OFFERED = {
    "FewShotClassifier": "lightning_meta.estimators",
    "FewShotRegressor": "lightning_meta.estimators",
    "compare": "lightning_meta.evaluation.compare",
    "evaluate": "lightning_meta.evaluation.evaluate",
    "load": "lightning_meta.training",
    "tune": "lightning_meta.search.start",
}

watch()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("lightning-meta")
    if name in OFFERED:
        return getattr(import_module(OFFERED[name]), name)
    if name[:1].isupper() and name in (learners := import_module("lightning_meta.learners")).__all__:
        return getattr(learners, name)
    raise AttributeError(f"module 'lightning_meta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "__version__", *OFFERED, *import_module("lightning_meta.learners").__all__]
