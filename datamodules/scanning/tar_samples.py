"""Images and labels in a tar: an ordinary WebDataset, or a tar of class folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from datamodules.reading.image_files import ENDINGS, is_clutter
from datamodules.scanning.image_kinds import is_image
from datamodules.scanning.label_rules import Rules, UnusableError, cls_value, json_value
from datamodules.scanning.scanned import ClassKey, Columns
from datamodules.scanning.tape import Tape, checksum
from datamodules.scanning.tar_headers import TarMember, tar_members
from lightning_meta.core import InputError

LARGEST = 2**24  # bytes of a `cls` or `json` member
KEPT = 1000  # samples without a label whose keys are kept, to tell a tar that is in no order
ANY = tuple(ending.removeprefix(".") for ending in ENDINGS)


class Picture(NamedTuple):
    """An image of a sample: its ending, its name, and where it lies."""

    ending: str
    name: str
    offset: int
    bytes: int
    crc32: int


class Sample:
    """The members of a tar that follow one another and have one key: the path up to the first dot of the base name.

    Args:
        key: The key.
        tar: Name of the tar, without its ending.
    """

    def __init__(self, key: str, tar: str):
        self.key, self.tar = key, tar
        self.pictures: list[Picture] = []
        self.texts: dict[str, bytes] = {}
        self.endings: list[str] = []

    @property
    def folder(self) -> str:
        """The path of the folder of the sample in the tar."""
        return self.key.rpartition("/")[0]


class TarReader:
    """The samples of a tar, and what was passed over in it.

    Args:
        tape: The tar, at its beginning.
        columns: Where what is passed over is counted.
        image: Ending of the image members; empty for any that an image file may have.
        texts: Endings of the members to keep the content of.
    """

    def __init__(self, tape: Tape, columns: Columns, image: str, texts: tuple[str, ...]):
        self.tape, self.columns, self.texts = tape, columns, texts
        self.images = (image.lower(),) if image else ANY

    def samples(self) -> Iterator[Sample]:
        """Yield the samples, one after another."""
        sample: Sample | None = None
        tar = Path(self.tape.name).stem
        for folder, member in self._files(""):
            path = f"{folder}{member.name}"
            above, slash, base = path.rpartition("/")
            stem, dot, ending = base.partition(".")
            if not dot:
                self.columns.pass_over("members without an ending", path)
                continue
            key = above + slash + stem
            if sample is None or key != sample.key:
                if sample is not None:
                    yield sample
                sample = Sample(key, tar)
            self._take(sample, ending.lower(), path, member)
        if sample is not None:
            yield sample

    def _take(self, sample: Sample, ending: str, path: str, member: TarMember) -> None:
        sample.endings.append(ending)
        if ending in self.images:
            crc32, first = checksum(self.tape.pieces(member.size))
            if is_image(first):
                sample.pictures.append(Picture(ending, path, member.offset, member.size, crc32))
            else:
                self.columns.pass_over("members that are not JPEG, PNG or WebP, whatever their ending", path)
        elif ending in self.texts:
            if member.size > LARGEST:
                raise InputError(
                    f"{path} in {self.tape.name} has {member.size} bytes, too many for a label: see --label"
                )
            sample.texts[ending] = self.tape.read(member.size)

    def _files(self, folder: str, end: int | None = None) -> Iterator[tuple[str, TarMember]]:
        """Yield the members that hold a file; those of a tar in the tar, such as ImageNet's, as if it were a folder."""
        for member in tar_members(self.tape, end):
            path = f"{folder}{member.name}"
            if member.obstacle:
                self.columns.pass_over(member.obstacle, path)
            elif any(is_clutter(part) for part in member.name.split("/")):
                self.columns.pass_over("hidden members", path)
            elif member.name.lower().endswith(".tar"):
                yield from self._files(f"{path[:-4]}/", member.offset + member.size)
            else:
                yield folder, member


def scan_tar(tape: Tape, rules: Rules) -> Columns:
    """Return the place, the length, the checksum and the class of every image in a tar.

    Raises:
        DamageError: If the tar is truncated or damaged.
        InputError: If a label is not one, or a sample has several images.
    """
    columns = Columns(tape.name)
    wanted = {"json" if rule.startswith("json:") else rule for rule in (rules.label, rules.group)} & {"json", "cls"}
    unlabelled = dict[str, None]()
    for sample in TarReader(tape, columns, rules.image, tuple(wanted)).samples():
        if not sample.pictures:
            if sample.key in unlabelled and set(sample.texts):
                raise InputError(
                    f"in {tape.name} the members of sample {sample.key} do not follow one another: write the tar in the order"
                    " of names (tar --sort=name)"
                )
            if sample.texts:
                columns.pass_over("samples without an image", sample.key)
            continue
        if len(sample.pictures) > 1:
            both = ", ".join(picture.name for picture in sample.pictures)
            raise InputError(
                f"a sample of {tape.name} has several images ({both}): choose by --image ENDING, such as --image jpg"
            )
        try:
            label, group = (sample_value(sample, rule) for rule in (rules.label, rules.group))
        except UnusableError as error:
            raise InputError(f"{sample.key} in {tape.name} {error}: see --label and --group") from error
        if not label:
            columns.pass_over(f"images without a label ({rules.label})", sample.pictures[0].name)
            if len(unlabelled) < KEPT:
                unlabelled[sample.key] = None
            continue
        _, _, offset, size, crc32 = sample.pictures[0]
        columns.add(columns.class_number(ClassKey(label, "", group)), offset, size, crc32)
    tape.tell()
    return columns


def sample_value(sample: Sample, rule: str) -> str:
    """Return the label or group of a sample, by a rule, or an empty text if there is none."""
    if not rule:
        return ""
    if rule.startswith("json:"):
        return json_value(sample.texts["json"], rule[5:]) if "json" in sample.texts else ""
    if rule == "cls":
        return cls_value(sample.texts["cls"]) if "cls" in sample.texts else ""
    return sample.tar if rule == "tar" else sample.folder
