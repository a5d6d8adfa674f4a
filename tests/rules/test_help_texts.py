"""The docstring of a class is the help text of the command line: each argument has an entry of its own, in whole sentences."""

import importlib
import inspect
import re

import docstring_parser
import pytest

import datamodules
from datamodules.worlds import Worlds
from lightning_meta.cli import shards
from lightning_meta.training import MetaRL
from lightning_meta.training.clip import Clip

# A configuration names their exported classes.
MODULES = ("lightning_meta.learners", "lightning_meta.nn", "lightning_meta.rl", "lightning_meta.envs")
CLASSES = [
    getattr(importlib.import_module(module), name)
    for module in MODULES
    for name in importlib.import_module(module).__all__
] + [MetaRL, Worlds, Clip]
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # of a class without a constructor
ELSEWHERE = re.compile(r"\b(see above|as above|as for|as those of|as told|unless told)\b", re.I)
DATA = [
    *(
        datamodules.Episodes,
        datamodules.FixedEpisodes,
        datamodules.ImageEpisodes,
        datamodules.ImageSource,
        datamodules.Sinusoid,
    ),
    *(shards.write_folder, shards.write_fonts, shards.write_glyphs, shards.features),
    *(shards.write_omniglot, shards.write_caltech101),
    *(shards.index_sources, shards.verify, shards.write_sheet, shards.export_images),
]
every_class = pytest.mark.parametrize("kind", [*CLASSES, *DATA], ids=lambda kind: kind.__name__)


@every_class
def test_a_summary_is_one_sentence_on_one_line(kind: type) -> None:
    summary = docstring_parser.parse(inspect.getdoc(kind) or "").short_description or ""
    assert summary.endswith(".")
    assert re.match(r"[A-Z0-9]", summary)
    assert not re.match(r"(What|Where|Who|How|Whether|Which)\b", summary)


@every_class
def test_every_argument_is_explained_by_itself(kind: type) -> None:
    """As jsonargparse reads the docstring: one argument an entry, a text that needs no other entry, and no entry too many."""
    texts = {one.arg_name: one.description or "" for one in docstring_parser.parse(inspect.getdoc(kind) or "").params}
    arguments = [name for name, one in inspect.signature(kind).parameters.items() if one.kind not in VARIABLE]
    assert list(texts) == arguments, "the entries of Args, in the order of the signature"
    for name, text in texts.items():
        assert re.match(r"[A-Z0-9]", text), f"{name}: {text}"
        assert text.endswith("."), f"{name}: {text}"
        assert not ELSEWHERE.search(text), f"{name}: {text}"
