"""lightning-meta shards: write, verify and look at sharded image sets."""

from typing import Any

from jsonargparse import auto_cli

from datamodules.reading.contact_sheet import write_sheet
from datamodules.reading.shard_set import ShardSet
from datamodules.sources.folder import write_folder
from datamodules.sources.glyph_set import write_glyphs
from datamodules.sources.omniglot import write_omniglot
from datamodules.writing.export import export_images
from datamodules.writing.written_set import WrittenSet
from lightning_meta.cli.features import features
from lightning_meta.config.parser_errors import Complaining
from lightning_meta.core import InputError


def verify(root: str) -> str:
    """Read a whole shard set, local or remote, and compare it with its index by checksum.

    Args:
        root: Folder or URL of the shards.

    Returns:
        A line that says how much was read.

    Raises:
        InputError: If a record or shard is damaged, with one line for each.
    """
    shards = ShardSet(root, on_error="skip")
    if damage := shards.verify():
        raise InputError("\n".join(damage))
    return f"{root}: {len(shards.index.sources)} shards, {len(shards.index.records)} classes, all as the index says"


def report(result: Any) -> str:
    """Return the lines to print for the value that a subcommand returned."""
    if isinstance(result, WrittenSet):
        return result.summary()
    return ", ".join(map(str, result)) if isinstance(result, tuple) else str(result)


def run(argv: list[str]) -> None:
    commands = {
        "write": {"glyphs": write_glyphs, "omniglot": write_omniglot, "folder": write_folder},
        "features": features,
        "verify": verify,
        "sheet": write_sheet,
        "export": export_images,
    }
    print(report(auto_cli(commands, args=argv, prog="lightning-meta shards", parser_class=Complaining)))
