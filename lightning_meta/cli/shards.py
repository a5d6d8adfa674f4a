"""lightning-meta shards: write, verify and look at sharded image sets."""

import json
from itertools import islice
from typing import Any

from jsonargparse import auto_cli

from datamodules.reading.contact_sheet import write_sheet
from datamodules.reading.named_set import set_place
from datamodules.reading.shard_set import ShardSet
from datamodules.scanning.index_sources import index_sources
from datamodules.sources.caltech101 import write_caltech101
from datamodules.sources.folder import write_folder
from datamodules.sources.fonts import write_fonts
from datamodules.sources.glyph_set import write_glyphs
from datamodules.sources.omniglot import write_omniglot
from datamodules.writing.export import export_images
from datamodules.writing.written_set import WrittenSet
from lightning_meta.cli.features import features
from lightning_meta.config.parser_errors import Complaining
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least


def verify(root: str, processes: int | None = None) -> str:
    """Read a whole shard set, local or remote, and compare it with its index by checksum.

    Args:
        root: Folder or URL of the set, or its task file if the index names roots.
        processes: Processes that read; by default one for each core, and four for each if the set is remote.

    Returns:
        A line that says how much was read.

    Raises:
        InputError: If a record or shard is damaged, with one line for each.
    """
    check_at_least(1, processes=1 if processes is None else processes)
    place, roots = set_place(root)
    shards = ShardSet(place, on_error="skip", roots=roots)
    if damage := shards.verify(processes):
        raise InputError("\n".join(damage))
    return f"{root}: {len(shards.index.sources)} shards, {len(shards.index.records)} classes, all as the index says"


def report(result: Any) -> str:
    """Return the lines to print for the value that a subcommand returned."""
    if isinstance(result, WrittenSet):
        return result.summary()
    return ", ".join(map(str, result)) if isinstance(result, tuple) else str(result)


def with_one_list(argv: list[str]) -> list[str]:
    """Return the arguments of `index` with all sources, which stand side by side, as the one list that its parser reads."""
    if argv[:1] != ["index"]:
        return argv
    sources, options, words = list[str](), list[str](), iter(argv[1:])
    for word in words:
        if not word.startswith("-"):
            sources.append(word)
        elif "=" in word or word in ("-h", "--help", "--print_config"):
            options.append(word)
        else:
            options += [word, *islice(words, 1)]
    return ["index", *options, *([json.dumps(sources)] if sources else [])]


def run(argv: list[str]) -> None:
    commands = {
        "write": {
            "glyphs": write_glyphs,
            "omniglot": write_omniglot,
            "caltech101": write_caltech101,
            "fonts": write_fonts,
            "folder": write_folder,
        },
        "index": index_sources,
        "features": features,
        "verify": verify,
        "sheet": write_sheet,
        "export": export_images,
    }
    print(report(auto_cli(commands, args=with_one_list(argv), prog="lightning-meta shards", parser_class=Complaining)))
