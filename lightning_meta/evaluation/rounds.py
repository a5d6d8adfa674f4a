"""Rounds of a comparison: each learner, under each of its protocols, on the test episodes of one set at one size."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.evaluation.contestants import Contestant
from lightning_meta.evaluation.rehearsal import try_task
from lightning_meta.reports.comparison import Refusal, Round, Score
from lightning_meta.training.evaluation import measure, protocols, score_name
from lightning_meta.training.measurements import Stage, Summary
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


def each_protocol(learners: Sequence[Contestant], tests: Sequence[Test], device: torch.device) -> list[Contestant]:
    """Each learner as configured and, where it can be judged as inductive and as transductive, in the other way too, under
    its name and that word: by what is measured on the first episode that it can do."""
    field = []
    for one in learners:
        one.learner.to(device)
        firsts = ((test, on_device(test, test.stream().read(0), device)) for test in tests)
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
    first = on_device(test, stream.read(0), device)
    refused = {one.name: reason for one in field if (reason := reason_against(one, test, first))}
    able = [one for one in field if one.name not in refused]
    summaries, scores = {one.name: Summary() for one in able}, {one.name: list[float]() for one in able}
    for episode in stream:
        episode = on_device(test, episode, device)
        for one in able:
            measured = measure(one.learner, episode)
            summaries[one.name].add_measured(Stage("meta_test"), episode, measured)
            scores[one.name] += measured.score.tolist()
        advance(len(episode.query.y))
    metric, cells = score_name(first), dict[str, Score | Refusal](refused)
    for one in able:
        cells[one.name] = replace(
            scored(summaries[one.name], metric, scores[one.name]), classes_trained_on=met(one, test)
        )
    in_order = {one.name: cells[one.name] for one in field}
    return Round(test.data.source, test.size.ways, test.size.shots, metric, in_order)


def scored(summary: Summary, metric: str, scores: list[float]) -> Score:
    """Return what was measured of a learner."""
    by_metric = {one.metric: one for one in summary.compute()}
    means = {name: one.mean for name, one in by_metric.items()}
    return Score(
        means[metric],
        by_metric[metric].ci95,
        means.get("nll"),
        means.get("ece"),
        means["adapt_seconds"],
        means["query_seconds"],
        tuple(scores),
    )


def met(one: Contestant, test: Test) -> int | None:
    """Return the number of tested classes that a learner was trained on; None if there are none, or none are known."""
    test.data.check_checkpoint(str(one.path or one.name), one.trained)
    return test.data.protocol("test").get("classes_trained_on")


def reason_against(one: Contestant, test: Test, episode: Episode) -> Refusal | None:
    """Return the reason why a learner cannot do such tasks, None if it can. What starts up once does so here, untimed."""
    try:
        test.data.check_checkpoint(str(one.path or one.name), one.trained)
        try_task(one.learner, episode)
    except InputError as error:
        return Refusal(str(error))
    return None


def on_device(test: Test, episode: Episode, device: torch.device) -> Episode:
    """Return an episode of a stream on the device, as learners take it."""
    moved = Episode(*(Examples(part.x.to(device), part.y.to(device)) for part in episode))
    ready = test.data.prepare(moved)
    assert isinstance(ready, Episode)
    return ready
