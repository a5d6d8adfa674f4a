"""The package that Ray makes of a folder and uploads, worked out before anything is sent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clusters.core.job import JobError

LIMIT = 100 * 2**20  # bytes of a request to Ray's dashboard; no setting of Ray raises it
RAY_MISSING = "the package ray[default] is missing: pip install 'lightning-meta[ray-jobs]' to submit to Ray"


class Upload(NamedTuple):
    """A package.

    Attributes:
        size: Its size in bytes.
        files: The size of each file, by its path relative to the folder.
        left_out: What is not sent; of a folder that is left out as a whole, only its name and a slash.
    """

    size: int
    files: dict[str, int]
    left_out: list[str]


def plan_upload(folder: Path, excludes: list[str]) -> Upload:
    """Return the package that Ray makes of a folder. It stores files in a zip as they are, without compression.

    Left out are `excludes` (patterns as in .gitignore), what Ray always leaves out (.git, .venv, venv, __pycache__), and what
    .gitignore and .rayignore name, in the folder or below it.
    """
    try:
        from ray._private import ray_constants
        from ray._private.runtime_env.packaging import _dir_travel, _get_excludes
    except ImportError as error:
        raise JobError(RAY_MISSING) from error
    if not folder.is_dir():
        raise JobError(f"working_dir is {folder}, which is not a folder: give a folder, or null for no package")
    patterns = [*ray_constants.get_runtime_env_default_excludes(), *excludes]
    sent: set[Path] = set()
    quiet: Any = _Quiet()
    gitignore = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    with _readable():
        _dir_travel(folder, [_get_excludes(folder, patterns)], sent.add, include_gitignore=gitignore, logger=quiet)
    files, left_out = _divide(folder, folder, sent)
    # a zip names each entry twice, before its bytes and in the list at the end
    size = 22 + sum(76 + 2 * len(name.encode()) + length for name, length in files.items())
    return Upload(size, {name: length for name, length in files.items() if not name.endswith("/")}, left_out)


def check_size(upload: Upload, folder: Path) -> None:
    """Raise JobError for a package that the cluster would refuse, naming its largest files."""
    if upload.size > LIMIT:
        largest = sorted(upload.files.items(), key=lambda file: -file[1])[:10]
        listed = "\n".join(f"  {mebibytes(size)}  {name}" for name, size in largest)
        raise JobError(
            f"the package of {folder} is {mebibytes(upload.size)}: give at most {mebibytes(LIMIT)}, which is all that Ray's"
            f" Jobs API takes. Its largest files are\n{listed}\nName what the job does not need in .rayignore (or `excludes` in"
            " the profile), put data on storage that the cluster reads, or submit from a smaller folder"
        )


def add_content(digest: Any, upload: Upload, folder: Path) -> None:
    """Add the names and bytes of the files to a digest of hashlib."""
    with _readable():
        for name in upload.files:
            digest.update(f"{name!r} {upload.files[name]}".encode())
            digest.update((folder / name).read_bytes())


def mebibytes(size: int) -> str:
    """Return a size in bytes as text."""
    return f"{size / 2**20:.1f} MiB"


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JobError(
            f"{error.filename} cannot be read ({error.strerror}): put it into `excludes` of the profile"
        ) from error


def _divide(folder: Path, root: Path, sent: set[Path]) -> tuple[dict[str, int], list[str]]:
    """Return the sizes of what is packed below a folder, and what is not. Ray packs an empty folder: its name and a slash."""
    packed: dict[str, int] = {}
    left_out: list[str] = []
    paths = sorted(folder.iterdir())
    for path in paths:
        name = str(path.relative_to(root))
        if path not in sent:
            left_out.append(name + "/" * path.is_dir())
        elif path.is_file():
            packed[name] = path.stat().st_size
        elif path.is_dir():
            more, less = _divide(path, root, sent)
            packed |= more
            left_out += less if more else [name + "/"] * bool(less)
    if not paths and folder != root:
        packed[f"{folder.relative_to(root)}/"] = 0
    return packed, left_out


class _Quiet:
    """A logger that says nothing; what is left out is listed once instead."""

    def info(self, *_: Any) -> None: ...

    warning = error = debug = info
