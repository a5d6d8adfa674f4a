"""The places that commands read and write: data, shard sets, and room on disks."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning_meta.machine.finding import Finding, size_text

LITTLE, FULL = 2**30, 100 * 2**20  # bytes free, below which runs may fail, and will fail
SHARED = Path("/dev/shm")  # in which workers of a loader hand over batches
LEAST_SHARED = 256 * 2**20
OMNIGLOT = "lightning-meta shards write omniglot --out shards/omniglot --download true"


def data(here: Path) -> Iterator[Finding]:
    """Yield the raw data sets, and the shard sets below a folder.

    Args:
        here: The folder that commands run in.
    """
    named = os.environ.get("LIGHTNING_META_DATA")
    folder = here / (named or "data")
    if named is not None and not folder.is_dir():
        remedy = "export LIGHTNING_META_DATA=FOLDER with the folder that holds omniglot/, or unset it"
        yield Finding("LIGHTNING_META_DATA", f"{named} is not a folder", "error", remedy)
    elif folder.is_dir():
        held = sorted(path.name for path in folder.iterdir() if path.is_dir())
        yield Finding("raw data", f"{folder}: {', '.join(held) or 'empty'}")
    else:
        yield Finding("raw data", f"no folder {named or 'data'} here", "note", f"for Omniglot: {OMNIGLOT}")
    sets = sorted(path.parent for path in (here / "shards").glob("*/index.json"))
    if sets:
        yield Finding("shard sets", ", ".join(str(path.relative_to(here)) for path in sets))
    else:
        remedy = "lightning-meta shards write glyphs --out shards/glyphs"
        yield Finding("shard sets", "none below shards/ here", "note", remedy)


def disks(here: Path) -> Iterator[Finding]:
    """Yield the room for runs, for copies of remote shards, and for what loader workers hand over.

    Args:
        here: The folder that commands run in.
    """
    if not os.access(here, os.W_OK):
        yield Finding("this folder", f"{here} cannot be written to", "error", "change to a folder of your own")
    yield room("this folder", here)
    cache = Path(os.environ.get("LIGHTNING_META_CACHE") or "~/.cache/lightning-meta").expanduser()
    yield room("cache", cache)
    if SHARED.is_dir() and (free := shutil.disk_usage(SHARED).free) < LEAST_SHARED:
        remedy = "start the container with --shm-size 8g, or give --data.num_workers 0"
        yield Finding("shared memory", f"{size_text(free)} free in {SHARED}", "warning", remedy)


def room(subject: str, folder: Path) -> Finding:
    """Return the free room on the disk of a folder, which need not exist."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free, total = shutil.disk_usage(there).free, shutil.disk_usage(there).total
    fact = f"{size_text(free)} free of {size_text(total)} at {folder}"
    if free < LITTLE:
        return Finding(subject, fact, "error" if free < FULL else "warning", "make room, or choose a folder elsewhere")
    return Finding(subject, fact)
