"""TensorBoard's HParams: what people compare about runs comes first."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[attr-defined]
from torch.utils.tensorboard.summary import hparams

from lightning_meta.core import MetaRLLearner
from lightning_meta.training.base import MetaModule
from lightning_meta.training.tensorboard import boards

SHOWN = {"learner", "backbone", "ways", "shots", "inner_lr", "world", "updates", "episodes"}


class RunSummary(Callback):
    """Shows a run in TensorBoard's HParams: learner, backbone, ways, shots and inner rate, then the whole configuration.

    Beside them stand the scores of the run as its curves have them: the latest meta-validation, and the meta-test.
    """

    def __init__(self) -> None:
        self.written = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.written or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if not isinstance(pl_module, MetaModule) or pl_module.judged is None:
            return
        self.written = True
        metric = pl_module.judged.metric
        scores = {f"meta_val/{metric}": 0.0, f"meta_test/{metric}": 0.0, "meta_val/error": 0.0}
        columns = {name: plain(value) for name, value in compared(pl_module).items()}
        for board in boards(trainer):
            experiment, *values = hparams(columns, scores)  # names only: the values are those of the curves
            put_first(experiment)
            for summary in (experiment, *values):
                board.file_writer.add_summary(summary)


def put_first(summary: Any) -> None:
    """Mark the settings that people compare: TensorBoard sorts by this mark, then by name, and shows the first five."""
    metadata = summary.value[0].metadata.plugin_data
    plugin = HParamsPluginData.FromString(metadata.content)
    for info in plugin.experiment.hparam_infos:
        info.differs = info.name in SHOWN
    metadata.content = plugin.SerializeToString()


def compared(module: MetaModule) -> dict[str, Any]:
    """Return the settings of a run by name: those that people compare, then all others by their full keys."""
    config = dict(module.hparams)
    learner, data = (arguments(config.get(part)) for part in ("learner", "data"))
    first: dict[str, Any] = {"learner": type(module.learner).__name__}
    if isinstance(module.learner, MetaRLLearner):
        budget = module.learner.evaluation_budget()._asdict()
        first |= {"world": class_name(data.get("world")), "inner_lr": learner.get("inner_lr"), **budget}
    else:
        first |= {"backbone": class_name(learner.get("backbone")), "ways": data.get("ways"), "shots": data.get("shots")}
        first |= {"inner_lr": learner.get("inner_lr")}
    return first | flat(config)


def arguments(spec: Any) -> dict[str, Any]:
    """The arguments in the description of an object."""
    return (spec.get("init_args") or {}) if isinstance(spec, Mapping) else {}


def class_name(spec: Any) -> str | None:
    """The class in the description of an object."""
    return str(spec["class_path"]).rpartition(".")[2] if isinstance(spec, Mapping) and "class_path" in spec else None


def plain(value: Any) -> int | float | str:
    """A number as it is, anything else as text, `-` for None."""
    return value if isinstance(value, int | float) else "-" if value is None else str(value)


def flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by their full names, in order."""
    if isinstance(settings, dict) and settings:
        parts = ((f"{name}.{key}" if name else key, part) for key, part in settings.items())
        return {key: value for full, part in parts for key, value in flat(part, full).items()}
    return {name: settings}
