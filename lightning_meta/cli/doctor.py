"""lightning-meta doctor: check this machine and this installation, with a remedy for each problem."""

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from clusters.core.plugins import load_backends
from clusters.core.secrets import is_secret
from lightning_meta.cli.submit import Parser
from lightning_meta.machine.devices import devices
from lightning_meta.machine.environment import unknown_variables, variables_set
from lightning_meta.machine.finding import Finding
from lightning_meta.machine.packages import optional, required, versions
from lightning_meta.machine.places import data, disks
from lightning_meta.machine.probe import probe_apart

DESCRIPTION = """Check the versions of packages, the devices, the data, the disks and the clients of clusters, and print a
remedy for each problem. The exit status is 1 if something is broken that a command needs, and 0 otherwise."""


def run(argv: list[str]) -> None:
    """Print every finding, and end with status 1 if one of them is an error."""
    parser = Parser(prog="lightning-meta doctor", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON, for a report of a problem")
    asked = parser.parse_args(argv)
    sections = examine(Path.cwd())
    if asked.json:
        print(json.dumps({name: [one._asdict() for one in found] for name, found in sections.items()}, indent=1))
    else:
        print(report(sections))
    sys.exit(1 if errors(sections) else 0)


def examine(here: Path) -> dict[str, list[Finding]]:
    """Return all findings by section.

    Args:
        here: The folder that commands run in.
    """
    probed = probe_apart()
    return {
        "versions": [*versions(), *required(probed)],
        "extras": list(dict.fromkeys(optional(probed))),
        "devices": list(devices(probed)),
        "data": list(data(here)),
        "disks": list(disks(here)),
        "clusters": list(backends()),
        "environment variables": list(environment()),
    }


def backends() -> Iterator[Finding]:
    """Yield the back ends of `submit`, with the client that each of them needs."""
    loaded, problems = load_backends()
    for name, backend in loaded.items():
        client = backend.client
        if client is None:
            yield Finding(name, backend.summary)
        elif place := client.find():
            yield Finding(name, f"{backend.summary} ({place})")
        else:
            yield Finding(name, f"without {client.names()}", "note", f"for `submit {name}`: {client.remedy}")
    for problem in problems:
        message, _, remedy = problem.rpartition(": ")
        yield Finding("back end", message, "error", remedy)


def environment() -> Iterator[Finding]:
    """Yield the variables that are set, without secrets, and names that nothing reads."""
    for variable, value in variables_set():
        yield Finding(variable.name, "(hidden)" if is_secret(variable.name, value) else value)
    for name in unknown_variables():
        yield Finding(name, "nothing reads it", "warning", "docs/environment.md lists the variables: correct its name")


def report(sections: dict[str, list[Finding]]) -> str:
    """Return the findings for the screen, and the number of problems."""
    width = max(len(one.subject) for one in chain(*sections.values()))
    blocks = ["\n".join([f"{name}:", *(one.text(width) for one in found)]) for name, found in sections.items() if found]
    warnings = sum(one.level == "warning" for one in chain(*sections.values()))
    broken = errors(sections)
    if not broken and not warnings:
        return "\n".join([*blocks, "nothing is broken"])
    parts = [
        f"{count} {noun}{'s' * (count > 1)}" for count, noun in ((broken, "error"), (warnings, "warning")) if count
    ]
    return "\n".join([*blocks, " and ".join(parts)])


def errors(sections: dict[str, list[Finding]]) -> int:
    """Return the number of things that are broken and that a command needs."""
    return sum(one.level == "error" for one in chain(*sections.values()))
