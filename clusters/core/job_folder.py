"""Where a job is kept: a folder each, found again by the job's id from another shell, another day."""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from clusters.core.job import Job, JobError

LARGEST = 2**20  # bytes of a record
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


def keep(job: Job, script: str) -> None:
    """Write what the job is into its folder, before it is sent. JobError, and no folder, where that cannot be written."""
    try:
        write(job.folder / "script.txt", script)
        if job.config is not None:
            write(job.folder / "config.yaml", job.config)
        write(job.folder / "versions.json", json.dumps(versions(job.workdir), indent=1) + "\n")
        write(job.folder / "job.json.reserved", " " * 4096)  # so that a full disk is met before the job is sent
    except JobError:
        discard(job.folder)
        raise


def discard(folder: Path) -> None:
    """Remove the folder of a job that was not sent."""
    shutil.rmtree(folder, ignore_errors=True)


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
    (job.folder / "job.json.reserved").unlink(missing_ok=True)
    write(job.folder / "job.json", json.dumps(facts, indent=1) + "\n")


def records(problems: list[str] | None = None) -> list[Record]:
    """Every job of the index, the newest first. A folder without job.json was not sent; what is wrong with a job.json that
    is no record goes into `problems`."""
    found, kinds = [], {**dict.fromkeys(Record._fields[:-1], str), "command": list}
    for path in index().glob("*/job.json"):
        try:
            facts = read_json(path)
            for key, kind in kinds.items():
                value = facts.get(key)
                if not isinstance(value, kind) or (isinstance(value, str) and not value.isprintable()):
                    raise JobError(f"{path} is no record of a job: {key} is {str(value)[:80]!r}")
            found.append(Record(**{key: facts[key] for key in kinds}, folder=path.parent))
        except JobError as error:
            if problems is not None:
                problems.append(str(error))
    return sorted(found, key=lambda one: (one.when, one.folder.name), reverse=True)


def find(id: str) -> Record:
    """The job of this id, or in the folder of this name, or the only one of this name."""
    problems: list[str] = []
    known = records(problems)
    found = [one for one in known if id in (one.id, one.folder.name)] or [one for one in known if id == one.name]
    if len(found) == 1:
        return found[0]
    if found:
        what = "id" if id in [one.id for one in found] else "name"
        listed = ", ".join(one.folder.name for one in found[:5]) + (", ..." if len(found) > 5 else "")
        raise JobError(f"{len(found)} jobs have the {what} {id}: give one by its folder, the newest first: {listed}")
    if broken := [text for text in problems if f"/{id}/job.json" in text]:
        raise JobError(broken[0])
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
    command = ["git", "-C", str(where), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a very large or a very slow disk
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write aside, then rename. JobError, and nothing half-written, where the disk is full or not to be written to."""
    aside = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise JobError(
            f"cannot write {path} ({error.strerror}): make room, or set LIGHTNING_META_JOBS to another folder"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """What a file of a job's folder says; nothing where there is none. JobError where it is broken."""
    if not path.exists():
        return {}
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise JobError(f"{path} is no file of a job: remove it")
        facts = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, JobError):
            raise
        raise JobError(f"{path} cannot be read ({error}): remove its folder, or put it right") from error
    if not isinstance(facts, dict):
        raise JobError(f"{path} does not hold what a job writes there: remove its folder, or put it right")
    return facts


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
