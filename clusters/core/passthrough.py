"""Options for the scheduler itself, which `submit` hands over unchanged."""

import re
from typing import Any, NamedTuple

import yaml

from clusters.core.job import JobError


class Passthrough(NamedTuple):
    """The option of `submit` whose values go to the scheduler unchanged.

    Attributes:
        flag: The option's name without dashes, such as "sbatch" for --sbatch=--exclusive.
        example: A value of it, such as "--exclusive".
    """

    flag: str
    example: str


def assign(document: dict[str, Any], assignment: str) -> None:
    """Set a value inside a document, from text such as `spec.template.spec.schedulerName=volcano`.

    Raises:
        JobError: The text is not PATH=VALUE, the path leads nowhere, or the value is not YAML.
    """
    path, equals, value = assignment.removeprefix("--").partition("=")
    parts = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]
    if not equals or not parts:
        raise JobError(f"{assignment!r} is not an assignment: give PATH=VALUE, such as spec.suspend=true")
    node: Any = document
    try:
        for part in parts[:-1]:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        node[parts[-1]] = yaml.safe_load(value)
    except (TypeError, IndexError, AttributeError, yaml.YAMLError) as error:
        raise JobError(
            f"{assignment!r} cannot be set: give a path that exists, and a value that is YAML ({error})"
        ) from error
