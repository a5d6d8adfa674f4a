"""The place of a set that a command names: its folder, its URL, or the task file that says where its images are."""

from pathlib import Path
from typing import Any

import yaml

from lightning_meta.core import InputError


def set_place(named: str) -> tuple[str, dict[str, str] | None]:
    """Return the folder or URL of a set, and the places of the roots that its index names, if a task file gives them.

    Args:
        named: The folder or URL of the set, or the path of a task file (.yaml) whose `data` has `root` and perhaps `roots`.

    Raises:
        InputError: If the task file cannot be read or names no set.
    """
    if not named.endswith((".yaml", ".yml")) or Path(named).is_dir():
        return named, None
    try:
        data: Any = yaml.safe_load(Path(named).read_text())["data"]
        arguments = data.get("init_args", data)
        root, roots = arguments["root"], arguments.get("roots") or {}
        if isinstance(root, str) and all(isinstance(text, str) for pair in roots.items() for text in pair):
            return root, roots or None
    except OSError as error:
        raise InputError(f"cannot read the task file {named} ({error.strerror}): give the folder of a set") from error
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        pass
    raise InputError(
        f"{named} names no set of images: give a task file with data.init_args.root, or the folder of a set"
    )
