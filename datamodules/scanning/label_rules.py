"""Rules that say where the label of an image stands, as `--label` and `--group` name them."""

import json
from typing import Any, NamedTuple

from lightning_meta.core import InputError

FOLDERS = ("folder", "path")  # the name of the last folder of a member, and the whole path
IN_TARS = ("cls", *FOLDERS, "tar")  # and json:KEY
USUAL = ("label", "class", "cls", "class_name", "label_name")  # keys and columns that are looked for


class Rules(NamedTuple):
    """The places of label, group and image in the sources of one format.

    label: `cls`, `json:KEY`, `folder`, `path` or `tar` in tars, and the name of a column in tables.
    group: `json:KEY` in tars, the name of a column in tables, or empty.
    image: ending of the image members in tars, the name of a column in parquet files, or empty for any.
    """

    label: str
    group: str = ""
    image: str = ""


class UnusableError(InputError):
    """A label that is there and cannot be one."""


def json_value(data: bytes, key: str) -> str:
    """Return the text or number at a key of a JSON document, where `a.b` is key b of the value at key a.

    Returns:
        The value as text; empty if there is no such key, or the value is null.

    Raises:
        UnusableError: If the document is not JSON, or the value is neither text nor an integer.
    """
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"is not JSON ({str(error)[:100] or type(error).__name__})") from error
    whole = value
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None and isinstance(whole, dict):
        value = whole.get(key)  # a key may hold a dot itself
    return text_of(value, f"holds at {key}")


def text_of(value: Any, where: str) -> str:
    """Return a label as text, empty for None; raise UnusableError if it is neither text nor an integer."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UnusableError(f"{where} {str(value)[:50]!r}, a {type(value).__name__} and neither text nor an integer")


def cls_value(data: bytes) -> str:
    """Return the label in a `cls` member; raise UnusableError if it is not text."""
    try:
        return data.decode().strip()
    except UnicodeDecodeError as error:
        raise UnusableError("is not text") from error
