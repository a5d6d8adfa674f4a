"""Partitions as sinfo lists them, and jobs that would wait in them for ever."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from clusters.core.job import Job, JobError
from clusters.core.units import seconds

FORMAT = "%P|%D|%G|%l|%s"
ELSEWHERE = re.compile(r"-[pMNtwC]|--(partition|clusters?|nodes|time|nodelist|constraint|reservation)\b")


class Nodes(NamedTuple):
    """Nodes of a partition that are alike.

    Attributes:
        partition: The name of the partition.
        default: Whether jobs go there that name no partition.
        number: The number of nodes.
        gpus: GPUs per node.
        seconds: The partition's time limit; None if it has none.
        most: The most nodes that a job gets; None without a limit.
    """

    partition: str
    default: bool
    number: int
    gpus: int
    seconds: int | None
    most: int | None


def parse(text: str) -> list[Nodes]:
    """Return the nodes in the output of sinfo --format=FORMAT; lines of another form are left out."""
    nodes = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != 5 or not parts[1].strip().isdigit():
            continue
        name, count, gres, limit, size = (part.strip() for part in parts)
        try:
            span = seconds(limit)
        except JobError:
            span = None  # the word infinite
        largest = size.rpartition("-")[2]
        most = int(largest) if largest.isdigit() else None
        nodes.append(Nodes(name.rstrip("*"), name.endswith("*"), int(count), gpus(gres), span, most))
    return nodes


def gpus(gres: str) -> int:
    """Return the number of GPUs in a node's gres, such as gpu:a100:8(S:0-1),nvme:1."""
    return sum(int(number) for number in re.findall(r"gpu(?::[\w.-]+)?:(\d+)", gres))


def check(job: Job, nodes: Sequence[Nodes]) -> None:
    """Raise JobError if the job's partitions do not exist or can never run it: sbatch would take it and let it wait."""
    chosen = str(job.options.get("partition") or "")
    names = list(dict.fromkeys(each.partition for each in nodes))
    for name in filter(None, chosen.split(",")):
        if names and name not in names:
            raise JobError(f"partition is {name!r}, which does not exist: choose from {', '.join(sorted(names))}")
    if any(ELSEWHERE.match(option) for option in job.passthrough):
        return  # the user gives sbatch other limits than those of the job
    mine = chosen.split(",") if chosen else [each.partition for each in nodes if each.default]
    problems = [refusal(job, name, [each for each in nodes if each.partition == name]) for name in dict.fromkeys(mine)]
    if problems and all(problems):
        raise JobError("; ".join(filter(None, problems)))


def refusal(job: Job, name: str, nodes: Sequence[Nodes]) -> str | None:
    """Return why a partition can never run the job, or None if it can."""
    most_gpus = max((each.gpus for each in nodes), default=0)
    if job.gpus_per_node > most_gpus:
        return f"--gpus-per-node is {job.gpus_per_node}: give at most {most_gpus}, as nodes of {name} have no more"
    count = sum(each.number for each in nodes if each.gpus >= job.gpus_per_node)
    most = min([count, *(each.most for each in nodes if each.most is not None)])
    if job.nodes > most:
        which = f" with {job.gpus_per_node} GPUs" if job.gpus_per_node else ""
        return f"--nodes is {job.nodes}: give at most {most}, as a job in {name} gets no more{which}"
    limit = min((each.seconds for each in nodes if each.seconds is not None), default=None)
    if job.time and limit is not None and seconds(job.time) > limit:
        return f"--time is {job.time}: give at most {limit // 60}m, as a job in {name} gets no more"
    return None
