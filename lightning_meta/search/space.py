"""The space of a search: keys of a configuration and where their values come from."""

import copy
from dataclasses import dataclass, field
from typing import Any

from ray import tune

from lightning_meta.core import InputError
from lightning_meta.search.names import named

RANGES = {
    "uniform": tune.uniform,
    "loguniform": tune.loguniform,
    "randint": lambda low, high: tune.randint(low, high + 1),
    "lograndint": lambda low, high: tune.lograndint(low, high + 1),
}
LISTS = {"choice": tune.choice, "grid": tune.grid_search}


@dataclass(frozen=True)
class Dimension:
    """A key that varies.

    Args:
        key: names it: its place in the configuration and, where it is written inside a choice, that choice in brackets.
        kind: one of RANGES or LISTS.
        values: the low and the high end of a range, or the list to choose from, where descriptions have short names.
        described: descriptions of classes and other composite values, by their short names.
        under: the choices under which it exists: keys of other dimensions, and the values that these must have.
    """

    key: str
    kind: str
    values: list[Any]
    described: dict[str, Any] = field(default_factory=dict)
    under: dict[str, list[str]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The dotted key of the configuration."""
        return self.key.partition(" (")[0]

    @property
    def is_range(self) -> bool:
        return self.kind in RANGES

    @property
    def is_log(self) -> bool:
        return self.kind.startswith("log")

    @property
    def chooses_classes(self) -> bool:
        return any(isinstance(spec, dict) and "class_path" in spec for spec in self.described.values())

    def meaning(self, value: Any) -> Any:
        """A value as the configuration holds it."""
        return copy.deepcopy(self.described[value]) if isinstance(value, str) and value in self.described else value

    def domain(self) -> Any:
        """Return the domain that Ray draws a key's values from."""
        return RANGES[self.kind](*self.values) if self.is_range else LISTS[self.kind](self.values)

    def mutation(self) -> Any:
        """Return the domain that Ray's population-based training draws from, or the list whose neighbours it moves to."""
        return self.domain() if self.is_range else self.values

    def clip(self, value: Any) -> Any:
        return min(max(value, self.values[0]), self.values[1]) if self.is_range else value


def dimension(key: str, spec: Any, under: dict[str, list[str]] | None = None) -> Dimension:
    """InputError where the description of a dimension is none."""
    legal = [*RANGES, *LISTS]
    if not (isinstance(spec, dict) and len(spec) == 1 and next(iter(spec)) in legal):
        raise InputError(
            f"search.space: {key} is {spec}: give one of {', '.join(legal)} with a list, {{loguniform: [0.001, 1]}} say"
        )
    kind, values = next(iter(spec.items()))
    if not isinstance(values, list) or not values:
        raise InputError(f"search.space: {key}: {kind} is {values}: give a list")
    if kind in LISTS:
        names, described = named(values)
        return Dimension(key, kind, names, described, under or {})
    whole = kind.endswith("randint")
    numbers = int if whole else (int, float)
    if (
        len(values) != 2
        or any(isinstance(v, bool) or not isinstance(v, numbers) for v in values)
        or values[0] >= values[1]
    ):
        raise InputError(
            f"search.space: {key}: {kind} is {values}: give [low, high], {'whole ' * whole}numbers with low < high"
        )
    if kind.startswith("log") and values[0] <= 0:
        raise InputError(f"search.space: {key}: {kind} is {values}: a logarithmic range begins above 0")
    return Dimension(key, kind, values, under=under or {})


def exists(one: Dimension, values: dict[str, Any]) -> bool:
    """Return whether a key exists at a point of the space."""
    return all(values.get(key) in names for key, names in one.under.items())


def existing(space: list[Dimension], values: dict[str, Any]) -> dict[str, Any]:
    """The values of the keys that are there."""
    return {one.key: values[one.key] for one in space if one.key in values and exists(one, values)}


def configured(config: dict[str, Any], space: list[Dimension], values: dict[str, Any]) -> dict[str, Any]:
    """The configuration at a point of the space; what a choice holds comes after the choice."""
    point = existing(space, values)
    return settle(config, {one.place: one.meaning(point[one.key]) for one in space if one.key in point})


def settle(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The configuration with other values at some dotted keys."""
    config = copy.deepcopy(config)
    for key, value in values.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return config


def full_key(config: dict[str, Any], key: str) -> str | None:
    """`key` as the configuration has it: `init_args` may be left out, as on the command line. None where it has no such."""
    node, found = config, []
    for part in key.split("."):
        if not isinstance(node, dict):
            return None
        if part not in node and isinstance(node.get("init_args"), dict):
            node = node["init_args"]
            found.append("init_args")
        if part not in node:
            return None
        node = node[part]
        found.append(part)
    return ".".join(found)


def leaves(config: dict[str, Any], prefix: str = "") -> list[str]:
    """All dotted keys that hold a value."""
    found = []
    for key, value in config.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"]
    return found


def short_names(keys: list[str]) -> dict[str, str]:
    """The last part of each key or, where that is not unique, as many of the last parts as make it so. The choice that a key
    belongs to stays, in brackets."""
    names = {}
    for key in keys:
        place, bracket, choice = key.partition(" (")
        parts = place.split(".")
        ends = (".".join(parts[-n:]) + bracket + choice for n in range(1, len(parts) + 1))
        names[key] = next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1)
    return names
