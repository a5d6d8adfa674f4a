"""What Ray would take of a folder to a cluster, and what it would leave behind, found out before anything is sent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clusters.core.job import JobError

LIMIT = 100 * 2**20  # bytes of a request to Ray's dashboard; no setting of Ray raises it
RAY_MISSING = "submitting to Ray needs ray[default], which is not installed; pip install 'lightning-meta[ray-jobs]'"


class Package(NamedTuple):
    """Sizes in bytes, paths relative to the folder; of a folder that is left out whole, only its own name and a slash."""

    size: int
    files: dict[str, int]
    left_out: list[str]


def package(folder: Path, excludes: list[str]) -> Package:
    """The package that Ray makes of the folder. It stores files in a zip as they are, without compression.

    Left out are `excludes` (patterns as in .gitignore), what Ray leaves out anyway (.git, .venv, venv, __pycache__), and what
    .gitignore and .rayignore name, in the folder or below it.
    """
    try:
        from ray._private import ray_constants
        from ray._private.runtime_env.packaging import _dir_travel, _get_excludes
    except ImportError as error:
        raise JobError(RAY_MISSING) from error
    if not folder.is_dir():
        raise JobError(f"working_dir: came {folder}, which is no folder; legal is a folder, or null for no package")
    patterns = [*ray_constants.get_runtime_env_default_excludes(), *excludes]
    seen: set[Path] = set()
    quiet: Any = _Quiet()
    honoured = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    with _readable():
        _dir_travel(folder, [_get_excludes(folder, patterns)], seen.add, include_gitignore=honoured, logger=quiet)
    files, left_out = _divide(folder, folder, seen)
    # a zip names each entry twice, before its bytes and in the list at the end
    size = 22 + sum(76 + 2 * len(name.encode()) + bytes_ for name, bytes_ in files.items())
    return Package(size, {name: size for name, size in files.items() if not name.endswith("/")}, left_out)


def check_size(made: Package, folder: Path) -> None:
    """Refuse what the cluster would, naming the largest files."""
    if made.size > LIMIT:
        largest = sorted(made.files.items(), key=lambda each: -each[1])[:10]
        listed = "\n".join(f"  {mebibytes(size)}  {name}" for name, size in largest)
        raise JobError(
            f"the package of {folder} is {mebibytes(made.size)}, and Ray's Jobs API takes {mebibytes(LIMIT)}; its largest "
            f"files are\n{listed}\nname what the job does not need in .rayignore (or `excludes` in the profile), put data on "
            "storage that the cluster reads, or submit from a smaller folder"
        )


def add_content(digest: Any, made: Package, folder: Path) -> None:
    """Names and bytes of the files, added to a digest of hashlib's."""
    with _readable():
        for name in made.files:
            digest.update(f"{name!r} {made.files[name]}".encode())
            digest.update((folder / name).read_bytes())


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JobError(
            f"{error.filename} cannot be read: {error.strerror}; put it into `excludes` of the profile"
        ) from error


def _divide(folder: Path, root: Path, seen: set[Path]) -> tuple[dict[str, int], list[str]]:
    """Sizes of what is packed below a folder, and what is not. Ray packs an empty folder, its name with a slash."""
    packed: dict[str, int] = {}
    left_out: list[str] = []
    paths = sorted(folder.iterdir())
    for path in paths:
        name = str(path.relative_to(root))
        if path not in seen:
            left_out.append(name + "/" * path.is_dir())
        elif path.is_file():
            packed[name] = path.stat().st_size
        elif path.is_dir():
            more, less = _divide(path, root, seen)
            packed |= more
            left_out += less if more else [name + "/"] * bool(less)
    if not paths and folder != root:
        packed[f"{folder.relative_to(root)}/"] = 0
    return packed, left_out


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


class _Quiet:
    """A logger; what is left out is told in one list instead."""

    def info(self, *_: Any) -> None: ...

    warning = error = debug = info
