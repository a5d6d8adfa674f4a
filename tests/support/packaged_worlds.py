"""The worlds of the packaged task files."""

from typing import Any

from lightning_meta.config.merge import PACKAGED, read
from lightning_meta.core import World
from lightning_meta.nn.build import find


def specs() -> dict[str, dict[str, Any]]:
    """Return class_path and init_args of the world of each task file, by the name of the file."""
    data = {path.stem: read(path)["data"] for path in sorted((PACKAGED / "tasks").glob("*.yaml"))}
    return {name: one["init_args"]["world"] for name, one in data.items() if "world" in one["init_args"]}


def build_world(spec: dict[str, Any], horizon: int) -> World:
    """Build a world with a horizon that is at most this one."""
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.get("init_args", {}).items()}
    world = find(spec["class_path"])(**arguments | {"horizon": min(arguments["horizon"], horizon)})
    assert isinstance(world, World)
    return world


def packaged_worlds(horizon: int = 20) -> list[World]:
    """Build the worlds of all task files, with episodes of at most this number of steps."""
    return [build_world(spec, horizon) for spec in specs().values()]
