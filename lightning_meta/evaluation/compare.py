"""Several learners on the same frozen episodes, and their paired differences."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lightning_meta.core import FewShotLearner, InputError
from lightning_meta.evaluation.contestants import Contestant, contestants
from lightning_meta.evaluation.evaluate import as_it_was, several
from lightning_meta.evaluation.rounds import Test, each_protocol, play
from lightning_meta.reports.comparison import Comparison, Protocol, Refusal, Round
from lightning_meta.training.task_data import TaskData


def compare(
    learners: Sequence[str | Path | FewShotLearner],
    data: TaskData | Sequence[TaskData],
    ways: int | Sequence[int] | None = None,
    shots: int | Sequence[int] | None = None,
    episodes: int | None = None,
    *,
    names: Sequence[str] | None = None,
    against: str | None = None,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    progress: Callable[[int, int], Any] | None = None,
) -> Comparison:
    """Score learners on the same test episodes, as `lightning-meta compare` does.

        from datamodules import ImageEpisodes
        data = ImageEpisodes("shards/glyphs", queries=15)
        found = lightning_meta.compare(["proto.ckpt", "maml.ckpt"], data, ways=5, shots=[1, 5])
        found.rounds[0].scored["proto"].difference

    The data modules are left as they were.

    Args:
        learners: Checkpoints of `fit`, and learners as objects.
        data: Data modules of labelled examples, one or several, with the same sampler, queries, seed, split and meta-batch. The
            tasks of a meta-batch are adapted to, and timed, at a time. Sources that are mixed are compared on one by one.
        ways: Classes of a task, one number or several; by default those of the data.
        shots: Support examples per class, one number or several; by default those of the data.
        episodes: Test episodes of each set and size; by default those of the data.
        names: A name for each learner; by default that of its run, or its class.
        against: Name of the learner that differences are to; by default the best of each round.
        device: Device to adapt and predict on.
        trust: Packages whose classes a checkpoint may name; their code runs.
        progress: Called after each meta-batch with the number of tasks that are done and of all.

    Returns:
        Facts about each learner, those that can be judged as inductive and as transductive under both names, and a round
        for each set and size: mean, interval, the score of every episode and the paired difference to `against`.

    Raises:
        InputError: If a file is not a checkpoint of a few-shot learner, `against` is not a learner, the data differ in
            what must be equal, or no learner can do any of the tasks.
    """
    given = [data] if isinstance(data, TaskData) else list(data)
    sets = [source for one in given for source in one.each_source()]
    entered = contestants(learners, names, trust)
    with ExitStack() as stack:
        for one in sets:
            stack.enter_context(as_it_was(one))
            if episodes is not None:
                one.test_count = episodes
        tests = [Test(one, size) for one in sets for size in one.test_sizes(several(ways), several(shots))]
        for test in tests:
            test.stream()  # refuses what a split cannot give, before the first is played
        protocol = protocol_of(sets, torch.device(device), against)
        done, total = 0, protocol.episodes * len(tests)

        def advance(tasks: int) -> None:
            nonlocal done
            done += tasks
            if progress is not None:
                progress(done, total)

        field, rounds = play_all(entered, tests, against, torch.device(device), advance)
    return Comparison(protocol, tuple(one.facts() for one in field), tuple(rounds))


def protocol_of(sets: list[TaskData], device: torch.device, against: str | None) -> Protocol:
    """Return what the episodes of all sets have in common.

    Raises:
        InputError: If there is no set, one has no labelled examples, or they differ.
    """
    if not sets:
        raise InputError("a comparison has no data: give a data module")
    if agents := [type(one).__name__ for one in sets if one.gives != "labelled examples"]:
        raise InputError(f"{agents[0]} gives decision processes: compare agents by evaluating each")
    described = [{**one.protocol("test"), "meta_batch": one.meta_batch} for one in sets]
    for name in ("split", "sampler", "queries", "episodes", "seed", "meta_batch"):
        if len(different := list(dict.fromkeys(str(one.get(name)) for one in described))) > 1:
            raise InputError(f"the data of a comparison differ in {name} ({', '.join(different)}): give them the same")
    first = described[0]
    of_tasks = first["split"], first["queries"], first["episodes"], first["seed"], first["meta_batch"]
    return Protocol(*of_tasks, device.type, against, first.get("sampler"))


def play_all(
    learners: Sequence[Contestant],
    tests: Sequence[Test],
    against: str | None,
    device: torch.device,
    advance: Callable[[int], Any],
) -> tuple[list[Contestant], list[Round]]:
    """Score every learner under each of its protocols in every test.

    Raises:
        InputError: If `against` is not a learner, or no learner can do any of the tests.
    """
    field = each_protocol(learners, tests, device)
    names = [one.name for one in field]
    if against is not None and against not in names:
        raise InputError(f"--against {against} is none of the learners: choose from {', '.join(names)}")
    rounds = [play(test, field, device, advance).compare_paired(against) for test in tests]
    if not any(round.scored for round in rounds):
        first = next(cell for cell in rounds[0].cells.values() if isinstance(cell, Refusal))
        raise InputError(f"no checkpoint can do any of these tasks: {first.reason}")
    return field, rounds
