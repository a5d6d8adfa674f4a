"""The roots of an index: few places that all of its sources are below, to be named in a configuration."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_meta.core import InputError

UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]+")
MOST = 255  # roots that an index can tell apart


class Place(NamedTuple):
    """A root: its name in the index, and its folder or URL."""

    name: str
    place: str


def choose_roots(folders: Iterable[str]) -> list[Place]:
    """Return roots that some folders and URLs are or lie below, outermost only, each with a name of its own.

    If there are more than an index can tell apart, neighbours give way to the folder that holds them.

    Raises:
        InputError: If there are still too many.
    """
    places = sorted(set(folders))
    while len(outer := _outermost(places)) > MOST:
        above = [place.rpartition("/")[0] for place in outer]
        if any(not parent.strip("/") or parent.endswith(":/") or parent.endswith("//") for parent in above):
            raise InputError(f"the sources are in {len(outer)} places: put them below {MOST} folders or fewer")
        places = sorted(set(above))
    names: dict[str, str] = {}
    for place in outer:
        plain = UNUSUAL.sub("-", place.rstrip("/").rpartition("/")[2]).strip("-") or "images"
        name, number = plain, 1
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names[name] = place
    return [Place(name, place) for name, place in names.items()]


def split_place(place: str, roots: Sequence[Place]) -> tuple[int, str]:
    """Return the number of the root that a file lies below, and its path below that."""
    for number, root in enumerate(roots):
        if place.startswith(below := root.place.rstrip("/") + "/"):
            return number, place[len(below) :]
    raise AssertionError(place)


def _outermost(places: Sequence[str]) -> list[str]:
    """Return the places that are below no other of these; they are sorted, so that an outer one comes first or is the last."""
    chosen: list[str] = []
    for place in sorted(places, key=lambda place: place.rstrip("/") + "/"):
        if not chosen or not f"{place}/".startswith(chosen[-1].rstrip("/") + "/"):
            chosen.append(place)
    return chosen
