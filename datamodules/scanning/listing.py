"""The units to scan: every tar and parquet file, and the parts of the lists of image files."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datamodules.scanning.addresses import Address
from datamodules.scanning.image_lists import list_csv, list_folder
from datamodules.scanning.label_rules import Rules
from datamodules.scanning.tape import identity
from datamodules.scanning.units import Unit

ASKING = 16  # files whose lengths are asked for at a time


def list_units(addresses: Sequence[Address], rules: dict[str, Rules]) -> tuple[list[Unit], list[str]]:
    """Return the units to scan, and lines about what was passed over while they were listed.

    Raises:
        InputError: If a source cannot be reached, or a folder or list has no images.
    """
    files = [address for address in addresses if address.format in ("tar", "parquet")]
    with ThreadPoolExecutor(ASKING) as pool:
        lengths = list(pool.map(lambda address: identity(address.place, address.remote, patient=False)["size"], files))
    units = [
        Unit(address.format, address.place, address.remote, rules[address.format], length)
        for address, length in zip(files, lengths, strict=True)
        if address.format in ("tar", "parquet")
    ]
    notes = list[str]()
    for address in addresses:
        if address.format in ("folder", "csv"):
            place, rule = Path(address.place), rules[address.format]
            images = list_folder(place) if address.format == "folder" else list_csv(place, rule)
            units += images.units(rule)
            notes += images.notes
    return units, notes
