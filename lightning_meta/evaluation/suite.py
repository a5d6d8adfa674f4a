"""Tests at several sizes of episode in one call, and the score against shots."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, whole
from lightning_meta.evaluation.rehearsal import rehearse
from lightning_meta.reports.figures import Line, against_shots
from lightning_meta.reports.results import check_result, keep_result, result, text
from lightning_meta.reports.tables import aligned, is_elsewhere, number, protocol_line, shown, size_name
from lightning_meta.training.base import MetaModule
from lightning_meta.training.checkpoint import Origin
from lightning_meta.training.evaluation import log_at
from lightning_meta.training.monitor import boards
from lightning_meta.training.task_data import TaskData


def sizes_asked(data: LightningDataModule, ways: list[int] | None, shots: list[int] | None) -> list[Any]:
    """The sizes to test at: every one of `ways` with every one of `shots`, by default the data module's own.

    Raises InputError where `ways` are given for regression, or either for data that are not episodes.
    """
    if isinstance(data, TaskData):
        return data.test_sizes(ways, shots)
    if ways or shots:
        raise InputError(f"--ways and --shots set the size of episodes, which {type(data).__name__} has not")
    return []


def evaluate_sizes(
    model: MetaModule,
    trainer: Trainer,
    data: LightningDataModule,
    sizes: list[Any],
    origin: Origin,
    folder: Path,
) -> list[dict[str, Any]]:
    """Test the model as it is at every size, after all were found possible. Print each result and, of several, a table at
    the end; write a JSON file for each into `folder`, and the score against shots as a curve and a picture. Returns the
    results."""
    tested_on = data.source if isinstance(data, TaskData) else type(data).__name__
    stage = f"meta_test_{Path(tested_on).name}" if is_elsewhere(origin.trained_on, tested_on) else "meta_test"
    picture = folder / f"{stage}_by_shots.png"
    if trainer.is_global_zero and len(sizes) > 1:
        check_writable(picture)
    for size in sizes or [None]:
        if size:
            set_size(data, size)
        if trainer.is_global_zero:
            check_result(folder, stage, data, "test")
        rehearse("test", model, data, trainer)
    log_at(trainer, origin.steps)
    found = []
    for size in sizes or [None]:
        if size:
            set_size(data, size)
        name = size_name(size._asdict()) if size and len(sizes) > 1 else ""
        model.test_name = stage + name
        trainer.test(model, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            found.append(result("meta_test", model.test_name, trainer, data, model.learner, origin))
            print(text(found[-1]))
            keep_result(folder, stage, found[-1])
    if trainer.is_global_zero and len(sizes) > 1:
        print(table(found))
        show_curve(stage, found, trainer, picture)
    return found


def set_size(data: LightningDataModule, size: Any) -> None:
    assert isinstance(data, TaskData)
    data.resize_test(size)


def table(found: list[dict[str, Any]]) -> str:
    """A row a size and protocol."""
    kind = "accuracy" if "accuracy" in found[0]["scores"] else "mse"
    names = [name for name in (kind, "nll", "ece") if name in found[0]["scores"]]
    parts = ("ways", "shots") if kind == "accuracy" else ("shots",)
    lines = [[*parts, "predictions", *names, "s to adapt"]]
    for one in found:
        for way in filter(None, (one, one["other"])):
            size = [shown(one["protocol"][part]) for part in parts]
            cells = [interval(way["scores"][name], kind == "accuracy" and name != "nll") for name in names]
            seconds = (one["cost"] if way is one else way)["adapt_seconds_a_task"]
            lines.append([*size, way["predictions"], *cells, f"{seconds:.2e}"])
    return f"{protocol_line(found[0], kind, without=('ways', 'shots'))}\n{aligned(lines)}"


def interval(score: tuple[float, float | None], percent: bool) -> str:
    mean, ci95 = score
    return number(mean, percent) + ("" if ci95 is None else f" +- {number(ci95, percent)}")


def show_curve(stage: str, found: list[dict[str, Any]], trainer: Trainer, picture: Path) -> None:
    """The score against shots, a line for each number of ways: in TensorBoard, where a step is a shot, and as a picture."""
    kind = "accuracy" if "accuracy" in found[0]["scores"] else "mse"
    lines: dict[str, Line] = {}
    for one in found:
        ways, shots = one["protocol"]["ways"], one["protocol"]["shots"]
        if not isinstance(shots, int):
            return  # a range has no curve
        for way in filter(None, (one, one["other"])):
            label = "" if kind == "mse" else f"{shown(ways)}-way"
            label += f" {way['predictions']}" if one["other"] else ""
            lines.setdefault(label.strip() or one["learner"], []).append((shots, *way["scores"][kind]))
    for board in boards(trainer):
        for label, points in lines.items():
            for shots, mean, _ in points:
                board.add_scalar(f"{stage}/{kind}_by_shots/{label}", mean, shots)
        board.flush()
    with whole(picture) as aside:
        against_shots(lines, kind, f"{found[0]['learner']} on {found[0]['protocol']['data']}", aside)
