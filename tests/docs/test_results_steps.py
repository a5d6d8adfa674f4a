"""The training that the page of results names beside a packaged reproduction is what its YAML does."""

import re

import pytest
import yaml

from lightning_meta.config.merge import PACKAGED
from support.paths import ROOT

RESULTS = re.sub(r"(?<!\n)\n(?!\n)", " ", (ROOT / "docs" / "results.md").read_text())  # a paragraph is a line
STEPS = re.compile(
    r"(of the file's )?([\d,]+)( of [\d,]+| of the paper's [\d,]+)? (meta-batches|episodes of \d+-way|iterations)"
)


def claims() -> list[tuple[str, int]]:
    """Each packaged file that the page's figures name, and the number of steps or episodes that comes first after it."""
    found = []
    parts = re.split(r"`((?:omniglot|sinusoid)_\w+)\.yaml`", RESULTS)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        counts = [int(count.replace(",", "")) for _, count, _, _ in STEPS.findall(text.partition("\n\n")[0])]
        files = [int(count.replace(",", "")) for own, count, _, _ in STEPS.findall(text) if own]
        found += [(name, count) for count in (files or counts)[:1]]
    return found


@pytest.mark.parametrize(("name", "count"), claims())
def test_a_row_was_trained_as_its_file_trains(name: str, count: int) -> None:
    config = yaml.safe_load((PACKAGED / "reproduce" / f"{name}.yaml").read_text())
    data = config["data"]["init_args"]
    steps = data["epoch_batches"] * config["trainer"]["max_epochs"]
    assert count in (steps, steps * data["meta_batch"])


def test_the_rows_are_found() -> None:
    assert {"omniglot_maml", "omniglot_reptile", "omniglot_r2d2", "omniglot_snail", "omniglot_anil"} <= {
        n for n, _ in claims()
    }
