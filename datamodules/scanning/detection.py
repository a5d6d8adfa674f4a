"""Rules for each format of source, as the user gives them or as the first samples show them."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from datamodules.scanning.addresses import Address
from datamodules.scanning.label_rules import IN_TARS, USUAL, Rules, UnusableError
from datamodules.scanning.parquet_rows import ParquetTable
from datamodules.scanning.scanned import Columns
from datamodules.scanning.tape import opened
from datamodules.scanning.tar_samples import Sample, TarReader, sample_value
from lightning_meta.core import InputError

FIRST = 100  # samples that are looked at
TEXTS = ("cls", "json")  # endings of members that may hold a label


def find_rules(addresses: Sequence[Address], label: str, group: str, image: str) -> tuple[dict[str, Rules], list[str]]:
    """Return the rules for each format of source, by a look at the first source of each.

    Args:
        addresses: The sources, sorted.
        label: The user's rule for labels, or an empty text.
        group: The user's rule for groups, or an empty text.
        image: The user's choice of images, or an empty text.

    Returns:
        The rules by format, and lines that say what was found and not given.

    Raises:
        InputError: If a rule does not fit a format, or the samples show no label.
    """
    first: dict[str, Address] = {}
    for address in addresses:
        first.setdefault(address.format, address)
    rules, notes = dict[str, Rules](), list[str]()
    for kind, address in first.items():
        if kind == "tar":
            rules[kind] = _tar_rules(address, label, group, image)
        elif kind == "parquet":
            rules[kind] = _parquet_rules(address, label, group, image)
        elif kind == "folder" and (label not in ("", "folder") or group or image):
            given = {"label": "" if label == "folder" else label, "group": group, "image": image}
            wrong = " and ".join(f"--{name} {value}" for name, value in given.items() if value)
            raise InputError(
                f"{wrong} does not fit {address.place}: in a folder of class folders the label of an image is its class folder"
            )
        else:
            rules[kind] = Rules(label or ("folder" if kind == "folder" else ""), group, image)
        if kind in ("tar", "parquet") and not label:
            notes.append(f"labels: {rules[kind].label}, found in {address.place} (--label chooses another)")
    return rules, notes


def _tar_rules(address: Address, label: str, group: str, image: str) -> Rules:
    if label and label not in IN_TARS and not label.startswith("json:"):
        raise InputError(f"--label {label} does not fit tars: choose cls, json:KEY, folder, path or tar")
    if group and not group.startswith("json:"):
        raise InputError(
            f"--group {group} does not fit tars: give json:KEY, or a CSV file with the columns class and group"
        )
    with opened(address.place, address.remote) as tape:
        reader = TarReader(tape, Columns(address.place), image, TEXTS)
        samples = list(islice(reader.samples(), FIRST))
    pictured = [sample for sample in samples if sample.pictures]
    endings = Counter(ending for sample in samples for ending in sample.endings)
    if not pictured:
        seen = ", ".join(ending for ending, _ in endings.most_common(10)) or "nothing"
        raise InputError(
            f"the first {len(samples)} samples of {address.place} have no JPEG, PNG or WebP"
            f" image{f' (.{image})' if image else ''}; their endings are {seen}"
        )
    rules = Rules(label or _label_in(pictured), group, image)
    for option, rule in (("--label", rules.label), ("--group", rules.group or rules.label)):
        if not rule or not any(_has(sample, rule) for sample in pictured):
            if apart := {*TEXTS} & {*endings} - {ending for sample in pictured for ending in sample.texts}:
                raise InputError(
                    f"in {address.place} the members of a sample do not follow one another ({', '.join(sorted(apart))} stands"
                    " apart from the images): write the tar in the order of names (tar --sort=name)"
                )
            wrong = f"{option} {rule} is in none of" if rule else "no label was found in"
            raise InputError(
                f"{wrong} the first {len(pictured)} samples of {address.place}, which have {_description(pictured, endings)}:"
                " give --label cls, json:KEY, folder, path or tar"
            )
    return rules


def _label_in(samples: Sequence[Sample]) -> str:
    """Return the rule that fits some samples, or an empty text."""
    if any("cls" in sample.texts for sample in samples):
        return "cls"
    for key in USUAL:
        if any(_has(sample, f"json:{key}") for sample in samples):
            return f"json:{key}"
    return "folder" if any(sample.folder for sample in samples) else ""


def _has(sample: Sample, rule: str) -> bool:
    try:
        return bool(sample_value(sample, rule))
    except UnusableError:
        return rule == "cls"


def _description(samples: Sequence[Sample], endings: Counter[str]) -> str:
    """Return the endings of the members of some samples, and the keys of the first JSON document."""
    keys: list[str] = []
    for sample in samples:
        try:
            document = json.loads(sample.texts.get("json", b"{}"))
        except ValueError:
            continue
        if isinstance(document, dict) and document:
            keys = [str(key) for key in document]
            break
    found = ", ".join(ending for ending, _ in endings.most_common(10))
    return found + (f" (keys {', '.join(keys[:15])})" if keys else "")


def _parquet_rules(address: Address, label: str, group: str, image: str) -> Rules:
    with opened(address.place, address.remote) as tape:
        table = ParquetTable(address.place, tape.file)
        rules = Rules(label or table.label_column(), group, table.image_column(image))
        table.check(rules)
        return rules
