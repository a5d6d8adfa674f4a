"""Where a job is kept: a folder each, found again by the job's id from another shell, another day."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from clusters.job import Job, JobError

PACKAGES = ("lightning-meta", "torch", "pytorch-lightning", "ray", "webdataset", "numpy")


class Record(NamedTuple):
    """What job.json says of a submitted job."""

    id: str
    backend: str
    name: str
    command: list[str]
    workdir: str
    when: str
    folder: Path


def index() -> Path:
    """The folder of all jobs of this user: LIGHTNING_META_JOBS, or lightning-meta/jobs in the state folder of XDG."""
    if chosen := os.environ.get("LIGHTNING_META_JOBS"):
        return Path(chosen).expanduser().resolve()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state, "lightning-meta", "jobs").expanduser().resolve()


def new_folder(name: str) -> Path:
    """Make a folder for a job, NAME-TIMESTAMP; a second one of the same second gets a number."""
    stem, root = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", index()
    for i in range(1000):
        path = root / (f"{stem}-{i}" if i else stem)
        try:
            path.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise JobError(f"no folder for jobs at {root}: {error.strerror}; set LIGHTNING_META_JOBS") from error
        return path
    raise JobError(f"{root} is full of jobs of this second")


def future_folder(name: str) -> Path:
    """What a dry run shows where the job's folder would be."""
    return index() / f"{name}-TIMESTAMP"


def keep(job: Job, script: str, config: str | None) -> None:
    """Write what the job is into its folder, before it is sent."""
    write(job.folder / "script.txt", script)
    if config is not None:
        write(job.folder / "config.yaml", config)
    write(job.folder / "versions.json", json.dumps(versions(job.workdir), indent=1) + "\n")


def record(job: Job, backend: str, id: str) -> None:
    """Write job.json, by which the job is found."""
    facts = {
        "id": id,
        "backend": backend,
        "name": job.name,
        "command": list(job.command),
        "workdir": str(job.workdir),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "nodes": job.nodes,
        "gpus_per_node": job.gpus_per_node,
        "array": job.array,
    }
    write(job.folder / "job.json", json.dumps(facts, indent=1) + "\n")


def records() -> list[Record]:
    """Every job of the index, the newest first. A folder without a readable job.json was not sent."""
    found = []
    for path in index().glob("*/job.json"):
        try:
            facts = json.loads(path.read_text())
            found.append(Record(**{key: facts[key] for key in Record._fields[:-1]}, folder=path.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda one: (one.when, one.folder.name), reverse=True)


def find(id: str) -> Record:
    """The job of this id, or in the folder of this name. Where ids are chosen, one submitted again is the same job."""
    known = records()
    found = [one for one in known if id in (one.id, one.folder.name)]
    if len(found) == 1 or {(one.backend, one.id) for one in found} in ({("ray", id)}, {("kubernetes", id)}):
        return found[0]  # the newest
    if found:
        listed = ", ".join(one.folder.name for one in found)
        raise JobError(f"{len(found)} jobs have the id {id}: give one by its folder: {listed}")
    last = f"; the newest are {', '.join(one.id for one in known[:5])}" if known else ""
    raise JobError(f"no job {id!r} below {index()}{last} (`lightning-meta jobs list` shows them)")


def versions(workdir: Path) -> dict[str, Any]:
    """The commit of the working directory, and the packages."""
    installed: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = None
    commit = _git(workdir, "rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git(workdir, "status", "--porcelain")) if commit else None, **installed}


def _git(where: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(where), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write aside, then rename."""
    aside = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    aside.replace(path)


def tail(folder: Path, ended: Callable[[], bool], follow: bool, pause: float = 0.5) -> Iterator[str]:
    """Lines of the job's log*.txt, in front of each the file's number where there are several; with `follow`, on until
    the job has ended and all is read."""
    places: dict[Path, int] = {}
    while True:
        last = not follow or ended()  # asked before reading, so that what came until then is read
        paths = sorted(folder.glob("log*.txt"), key=lambda path: (len(path.name), path.name))
        for path in paths:
            with path.open("rb") as file:
                file.seek(places.get(path, 0))
                text = file.read()
            whole = len(text) if last else text.rfind(b"\n") + 1
            places[path] = places.get(path, 0) + whole
            label = f"[{path.stem.removeprefix('log-')}] " if len(paths) > 1 else ""
            for line in text[:whole].decode(errors="replace").splitlines():
                yield label + line
        if last:
            return
        time.sleep(pause)
