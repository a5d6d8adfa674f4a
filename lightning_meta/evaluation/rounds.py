"""Rounds of a comparison: each learner, under each of its protocols, on the test episodes of one set at one size."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from lightning_meta.core import (
    Episode,
    Examples,
    InputError,
    MetaBatch,
    count_tasks,
    equal_parts,
    one_of_each_size,
)
from lightning_meta.evaluation.contestants import Contestant
from lightning_meta.evaluation.rehearsal import try_task
from lightning_meta.reports.comparison import Refusal, Round, Score
from lightning_meta.training.evaluation import measure, protocols, score_name
from lightning_meta.training.measurements import Quantity, Stage, Summary
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

    def examples(self, device: torch.device) -> list[Episode]:
        """Its first tasks of each size, and a task of the smallest and of the largest size that it may have, if others."""
        first = equal_parts(self.stream().read(0))
        others = (one for one in self.data.samples("test") if isinstance(one, Episode))
        return on_device(self, one_of_each_size([*first, *others]), device)


def each_protocol(learners: Sequence[Contestant], tests: Sequence[Test], device: torch.device) -> list[Contestant]:
    """Each learner as configured and, where it can be judged as inductive and as transductive, in the other way too, under
    its name and that word: by what is measured on the first episode that it can do."""
    field = []
    for one in learners:
        one.learner.to(device)
        examples = ((test, test.examples(device)) for test in tests)
        episode = next((some[0] for test, some in examples if not reason_against(one, test, some)), None)
        ways = {"": one.learner} if episode is None else protocols(one.learner, episode)
        field += [
            one._replace(name=one.name if learner is one.learner else f"{one.name} ({way})", learner=learner)
            for way, learner in ways.items()
        ]
    return field


def play(test: Test, field: list[Contestant], device: torch.device, advance: Callable[[int], Any]) -> Round:
    """Score every learner that can do a test, in turn on each of its meta-batches."""
    examples, stream = test.examples(device), test.stream()
    refused = {one.name: reason for one in field if (reason := reason_against(one, test, examples))}
    able = [one for one in field if one.name not in refused]
    summaries, scores = {one.name: Summary() for one in able}, {one.name: list[float]() for one in able}
    for batch in stream:
        for episode in on_device(test, batch, device):
            for one in able:
                measured = measure(one.learner, episode)
                of = Quantity(Stage("meta_test"), score_name(episode))
                summaries[one.name].add_measured(of, episode, measured)
                scores[one.name] += measured.score.tolist()
        advance(count_tasks(batch))
    metric, cells = score_name(examples[0]), dict[str, Score | Refusal](refused)
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


def reason_against(one: Contestant, test: Test, examples: Sequence[Episode]) -> Refusal | None:
    """Return the reason why a learner cannot do such tasks, None if it can. What starts up once does so here, untimed."""
    try:
        test.data.check_checkpoint(str(one.path or one.name), one.trained)
        for episode in examples:
            try_task(one.learner, episode)
    except InputError as error:
        return Refusal(str(error))
    return None


def on_device(test: Test, batch: MetaBatch, device: torch.device) -> list[Episode]:
    """Return the tasks of a stream on the device, as learners take them, those of one size together."""
    parts = equal_parts(batch)
    moved: MetaBatch = [Episode(*(Examples(half.x.to(device), half.y.to(device)) for half in part)) for part in parts]
    ready = test.data.prepare(moved)
    assert isinstance(ready, list)
    return ready
