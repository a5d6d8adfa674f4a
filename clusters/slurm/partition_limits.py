"""What sinfo tells of partitions, and which jobs would wait in them for ever."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from clusters.core.job import Job, JobError
from clusters.core.quoting import seconds

FORMAT = "%P|%D|%G|%l|%s"
ELSEWHERE = re.compile(r"-[pMNtwC]|--(partition|clusters?|nodes|time|nodelist|constraint|reservation)\b")


class Nodes(NamedTuple):
    """Nodes of a partition that are alike."""

    partition: str
    default: bool
    number: int
    gpus: int
    seconds: int | None
    most: int | None


def parse(text: str) -> list[Nodes]:
    """Lines of sinfo --format=FORMAT; what is none is left out."""
    found = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != 5 or not parts[1].strip().isdigit():
            continue
        name, count, gres, limit, size = (part.strip() for part in parts)
        try:
            span = seconds(limit)
        except JobError:
            span = None  # infinite
        largest = size.rpartition("-")[2]
        most = int(largest) if largest.isdigit() else None
        found.append(Nodes(name.rstrip("*"), name.endswith("*"), int(count), gpus(gres), span, most))
    return found


def gpus(gres: str) -> int:
    """GPUs in a node's gres, such as gpu:a100:8(S:0-1),nvme:1."""
    return sum(int(found) for found in re.findall(r"gpu(?::[\w.-]+)?:(\d+)", gres))


def check(job: Job, nodes: Sequence[Nodes]) -> None:
    """JobError where no partition of the job's is there, or none can ever run it; sbatch would take it and let it wait."""
    chosen = str(job.options.get("partition") or "")
    names = list(dict.fromkeys(each.partition for each in nodes))
    for name in filter(None, chosen.split(",")):
        if names and name not in names:
            raise JobError(f"no partition {name!r}: choose from {', '.join(sorted(names))}")
    if any(ELSEWHERE.match(option) for option in job.passthrough):
        return  # sbatch is told something else than we know
    mine = chosen.split(",") if chosen else [each.partition for each in nodes if each.default]
    problems = [refusal(job, name, [each for each in nodes if each.partition == name]) for name in dict.fromkeys(mine)]
    if problems and all(problems):
        raise JobError("; ".join(filter(None, problems)))


def refusal(job: Job, name: str, nodes: Sequence[Nodes]) -> str | None:
    """Why a partition can never run the job; None where it can."""
    most_gpus = max((each.gpus for each in nodes), default=0)
    if job.gpus_per_node > most_gpus:
        return f"--gpus-per-node is {job.gpus_per_node}, and no node of {name} has more than {most_gpus}"
    count = sum(each.number for each in nodes if each.gpus >= job.gpus_per_node)
    most = min([count, *(each.most for each in nodes if each.most is not None)])
    if job.nodes > most:
        which = f" with {job.gpus_per_node} GPUs" if job.gpus_per_node else ""
        return f"--nodes is {job.nodes}, and a job in {name} gets {most}{which} at most"
    limit = min((each.seconds for each in nodes if each.seconds is not None), default=None)
    if job.time and limit is not None and seconds(job.time) > limit:
        return f"--time is {job.time}, and a job in {name} gets {limit // 60} minutes at most"
    return None
