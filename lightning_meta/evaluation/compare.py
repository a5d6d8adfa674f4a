"""Several learners on the same frozen episodes, and their paired differences."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.evaluation.contestants import Contestant
from lightning_meta.evaluation.rehearsal import try_task
from lightning_meta.reports.comparison import Cell, Round, compare_paired, known
from lightning_meta.training.evaluation import Summary, measure, protocols, score_name
from lightning_meta.training.task_data import TaskData


class Test(NamedTuple):
    """The test episodes of a data module at one of its `test_sizes`."""

    data: TaskData
    size: Any

    def stream(self) -> Any:
        """The meta-batches of this test: iterate over it, or `read` one by its number."""
        self.data.resize_test(self.size)
        (stream,) = self.data.streams("test")
        return stream


def compare(
    learners: Sequence[Contestant],
    tests: Sequence[Test],
    against: str | None = None,
    device: str | torch.device = "cpu",
    advance: Callable[[int], Any] = lambda _: None,
) -> tuple[list[Contestant], list[Round]]:
    """Score learners on the same test episodes, and find each one's mean difference to another, episode by episode.

    Args:
        learners: learners of checkpoints (`lightning_meta.evaluation.contestants.contestants`).
        tests: what they are tested on.
        against: name of the learner that differences are to; by default the best of each test.
        device: device to adapt and predict on.
        advance: called with the number of tasks after each meta-batch.

    Returns:
        The learners, one that can be judged as inductive and as transductive under both names; and a round for each test.

    Raises:
        InputError: if `against` is not a learner, or no learner can do any of the tests.
    """
    device = torch.device(device)
    field = each_protocol(learners, tests, device)
    names = [one.name for one in field]
    if against is not None and against not in names:
        raise InputError(f"--against {against} is none of the learners: choose from {', '.join(names)}")
    rounds = []
    for test in tests:
        rounds.append(play(test, field, device, advance))
        compare_paired(rounds[-1], against)
    if all("reason" in cell for round in rounds for cell in round.cells.values()):
        first = next(iter(rounds[0].cells.values()))
        raise InputError(f"no checkpoint can do any of these tasks: {first['reason']}")
    return field, rounds


def each_protocol(learners: Sequence[Contestant], tests: Sequence[Test], device: torch.device) -> list[Contestant]:
    """Each learner as configured and, where it can be judged as inductive and as transductive, in the other way too, under
    its name and that word: by what is measured on the first episode that it can do."""
    field = []
    for one in learners:
        one.learner.to(device)
        firsts = ((test, moved(test.stream().read(0), device)) for test in tests)
        episode = next((first for test, first in firsts if not reason_against(one, test, first)), None)
        ways = {"": one.learner} if episode is None else protocols(one.learner, episode)
        field += [
            one._replace(name=one.name if learner is one.learner else f"{one.name} ({way})", learner=learner)
            for way, learner in ways.items()
        ]
    return field


def play(test: Test, field: list[Contestant], device: torch.device, advance: Callable[[int], Any]) -> Round:
    """Score every learner that can do a test, in turn on each of its meta-batches."""
    stream = test.stream()
    first = moved(stream.read(0), device)
    cells: dict[str, Cell] = {one.name: reason_against(one, test, first) for one in field}
    able = [one for one in field if not cells[one.name]]
    summary, scores = Summary(), {one.name: [] for one in able}
    for episode in stream:
        episode = moved(episode, device)
        for one in able:
            measured = measure(one.learner, episode)
            summary.add_measured(one.name, episode, measured)
            scores[one.name] += measured.score.tolist()
        advance(len(episode.query.y))
    kind, means = score_name(first), summary.compute()
    for name, own in scores.items():
        mean, ci95 = means[f"{name}/{kind}"]
        cells[name] = {"mean": float(mean), "ci95": None if ci95 is None else known(ci95)}
        cells[name] |= {part: float(means[f"{name}/{part}"][0]) for part in ("nll", "ece") if f"{name}/{part}" in means}
        cells[name] |= {f"{part}_seconds": float(means[f"{name}/seconds/{part}"][0]) for part in ("adapt", "query")}
        cells[name]["scores"] = own
    for one in able:
        test.data.check_checkpoint(str(one.path), one.trained)
        if met := test.data.protocol("test").get("classes_trained_on"):
            cells[one.name]["classes_trained_on"] = met
    return Round(test.data.source, test.size.ways, test.size.shots, kind, cells)


def reason_against(one: Contestant, test: Test, episode: Episode) -> Cell:
    """Return an empty cell if the learner can do such tasks, else the reason why not. What starts up once does so here,
    untimed."""
    try:
        test.data.check_checkpoint(str(one.path), one.trained)
        try_task(one.learner, episode)
    except InputError as error:
        return {"reason": str(error)}
    return {}


def moved(episode: Episode, device: torch.device) -> Episode:
    return Episode(*(Examples(part.x.to(device), part.y.to(device)) for part in episode))
