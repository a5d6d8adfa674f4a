"""Tests at several sizes of episode in one call, and the score against shots."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, whole
from lightning_meta.evaluation.rehearsal import rehearse
from lightning_meta.evaluation.results import result_of
from lightning_meta.reports.few_shot import FewShotResult
from lightning_meta.reports.figures import Line, against_shots
from lightning_meta.reports.result_files import check_result, keep_result
from lightning_meta.reports.results import Result
from lightning_meta.reports.tables import aligned, is_elsewhere, number, protocol_line, shown, size_name
from lightning_meta.training.base import MetaModule
from lightning_meta.training.checkpoint import Origin
from lightning_meta.training.evaluation import log_at
from lightning_meta.training.measurements import Measurement, Stage
from lightning_meta.training.task_data import TaskData
from lightning_meta.training.tensorboard import boards


def sizes_asked(data: LightningDataModule, ways: list[int] | None, shots: list[int] | None) -> list[Any]:
    """The sizes to test at: every one of `ways` with every one of `shots`, by default the data module's own.

    Raises InputError where `ways` are given for regression, or either for data that are not episodes.
    """
    if isinstance(data, TaskData):
        return data.test_sizes(ways, shots)
    if ways or shots:
        raise InputError(f"--ways and --shots set the size of episodes, which {type(data).__name__} has not")
    return []


def test_each_size(
    model: MetaModule, trainer: Trainer, data: LightningDataModule, sizes: list[Any], origin: Origin
) -> Iterator[Result]:
    """Test the model as it is at every size, after all were found possible.

    Args:
        model: The learner under Lightning.
        trainer: The trainer; its loggers log the scores at the last step of the checkpoint's training.
        data: The tasks.
        sizes: Sizes of test episodes (`sizes_asked`); none for tasks that have no size.
        origin: What the checkpoint tells of its making.

    Yields:
        The result at each size, in order.

    Raises:
        InputError: If the learner cannot do tasks of one of the sizes.
    """
    stage = stage_of_test(data, origin)
    for size in sizes or [None]:
        set_size(data, size)
        rehearse("test", model, data, trainer)
    log_at(trainer, origin.steps)
    for size in sizes or [None]:
        set_size(data, size)
        name = size_name(size._asdict()) if size and len(sizes) > 1 else None
        model.test_stage = Stage(stage.name, stage.data, name)
        trainer.test(model, datamodule=data, verbose=False)
        yield result_of(model, model.test_stage, trainer, data, origin)


def stage_of_test(data: LightningDataModule, origin: Origin) -> Stage:
    """The stage of a test, which names the data set if the checkpoint was trained on another one."""
    tested_on = data.source if isinstance(data, TaskData) else type(data).__name__
    return Stage("meta_test", Path(tested_on).name if is_elsewhere(origin.trained_on, tested_on) else None)


def evaluate_sizes(
    model: MetaModule,
    trainer: Trainer,
    data: LightningDataModule,
    sizes: list[Any],
    origin: Origin,
    folder: Path,
) -> list[Result]:
    """Test at every size, print each result and, of several, a table at the end; write a JSON file for each into `folder`,
    and the score against shots as a curve and a picture. Returns the results."""
    stage = stage_of_test(data, origin)
    picture = folder / f"{stage.file}_by_shots.png"
    if trainer.is_global_zero:
        if len(sizes) > 1:
            check_writable(picture)
        for size in sizes or [None]:
            set_size(data, size)
            check_result(folder, stage, data, "test")
    results = []
    for result in test_each_size(model, trainer, data, sizes, origin):
        results.append(result)
        if trainer.is_global_zero:
            print(result.text())
            keep_result(folder, result)
    several = [one for one in results if isinstance(one, FewShotResult)]
    if trainer.is_global_zero and len(several) > 1:
        print(table(several))
        show_curve(stage, several, trainer, picture)
    return results


def set_size(data: LightningDataModule, size: Any) -> None:
    """Test with episodes of this size, if tasks have one."""
    if size:
        assert isinstance(data, TaskData)
        data.resize_test(size)


def table(results: list[FewShotResult]) -> str:
    """One row per size and protocol."""
    first, metric = results[0], results[0].metric
    measured = [one.metric for one in first.measurements]
    names = [name for name in (metric, "nll", "ece") if name in measured]
    parts = ("ways", "shots") if metric == "accuracy" else ("shots",)
    sources = [one.quantity.point for one in first.curve("source")]
    lines = [[*parts, "predictions", *names, *(f"{metric} on {name}" for name in sources), "s to adapt"]]
    for one in results:
        for predictions, scores, seconds in one.protocols():
            size = [shown(one.protocol[part]) for part in parts]
            cells = [interval(score_of(name, scores)) for name in names]
            cells += [interval(one) for one in scores if one.quantity.curve == "source"]
            lines.append([*size, predictions.protocol, *cells, f"{seconds:.2e}"])
    return f"{protocol_line(first.stage.name, first.protocol, metric, without=('ways', 'shots'))}\n{aligned(lines)}"


def score_of(metric: str, measurements: tuple[Measurement, ...]) -> Measurement:
    """The measurement of a metric that is not a point of a curve."""
    return next(one for one in measurements if one.metric == metric and one.quantity.curve is None)


def interval(one: Measurement) -> str:
    return number(one.mean, one.is_share) + ("" if one.ci95 is None else f" +- {number(one.ci95, one.is_share)}")


def show_curve(stage: Stage, results: list[FewShotResult], trainer: Trainer, picture: Path) -> None:
    """The score against shots, a line for each number of ways: in TensorBoard, where a step is a shot, and as a picture."""
    first, metric = results[0], results[0].metric
    lines: dict[str, Line] = {}
    for one in results:
        ways, shots = one.protocol["ways"], one.protocol["shots"]
        if not isinstance(shots, int):
            return  # a range has no curve
        for predictions, scores, _ in one.protocols():
            label = "" if metric == "mse" else f"{shown(ways)}-way"
            label += f" {predictions.protocol}" if one.other else ""
            score = score_of(metric, scores)
            lines.setdefault(label.strip() or one.learner, []).append((shots, score.mean, score.ci95))
    for board in boards(trainer):
        for label, points in lines.items():
            for shots, mean, _ in points:
                board.add_scalar(f"{stage.tag}/{metric}_by_shots/{label}", mean, shots)
        board.flush()
    with whole(picture) as aside:
        against_shots(lines, metric, f"{first.learner} on {first.protocol['data']}", aside)
