"""The headers of a tar: name, place and size of each member, read in one pass. POSIX.1-2001 (pax), and GNU tar's extensions.

`tarfile` reads the same formats and makes an object with 20 attributes for each member, which takes four times as long.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from datamodules.reading.damage import DamageError
from datamodules.scanning.tape import Tape

BLOCK = 512
ZEROS = bytes(BLOCK)
LONGEST = 2**20  # bytes of a name or of pax records; longer ones are damage
TAIL = 2**16  # bytes behind the end mark that are looked at; writers fill their last record with zeros
COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
OTHER = {  # members that hold no file, by their type
    b"1": "hard links",
    b"2": "symbolic links",
    b"3": "devices",
    b"4": "devices",
    b"6": "pipes",
    b"M": "parts of a file that began in another tar",
    b"S": "sparse files",
}
SILENT = {b"5", b"D", b"V"}  # folders, lists of folders, the label of a volume: they hold no data of a user
RECORD = re.compile(rb"(\d{1,9}) ([^=]+)=")
PARENT = re.compile(r"(^|/)\.\.(/|$)")


class TarMember(NamedTuple):
    """A member of a tar.

    name: its path in the tar, without a leading `./`.
    offset: where its content begins, in bytes from the beginning of the outermost tar.
    size: length of its content in bytes.
    obstacle: the reason why its content is not a file that can be read in place, such as `symbolic links`, or empty.
    """

    name: str
    offset: int
    size: int
    obstacle: str


def tar_members(tape: Tape, end: int | None = None) -> Iterator[TarMember]:
    """Yield the members of a tar, of which each content may be read from the tape before the next member is asked for.

    Args:
        tape: The tar, at its first header.
        end: For a tar within a tar, where it ends.

    Raises:
        DamageError: If the tar is truncated, a header is damaged, or the file is not a tar.
    """
    shared: dict[str, str] = {}  # pax records for all members that follow
    begin = tape.position
    while header := _next_header(tape, begin, end):
        own = dict(shared)
        while (kind := header[156:157]) in b"xgXLK":
            extension = _extension(tape, header)
            if kind == b"L":
                own["path"] = extension.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind == b"g":
                shared |= _records(extension, tape)
                own = shared | own
            elif kind != b"K":
                own |= _records(extension, tape)
            header = tape.read(BLOCK)
            _check_sum(header, tape)
        if kind == b"S":
            _skip_map(tape, header)
        size = _pax_size(own["size"], tape) if "size" in own else _number(header[124:136], tape)
        name = _name(header, own)
        obstacle = "sparse files" if own and any(key.startswith("GNU.sparse.") for key in own) else OTHER.get(kind, "")
        following = tape.position + (0 if kind in b"123456" else (size + BLOCK - 1) // BLOCK * BLOCK)
        if kind not in SILENT and not (kind == b"\0" and name.endswith("/")):
            yield TarMember(name, tape.position, size, obstacle or _outside(name))
        tape.skip_to(following)


def _next_header(tape: Tape, begin: int, end: int | None) -> bytes | None:
    """Return the next header, or None at the end mark."""
    if end is not None and tape.position >= end:
        return None
    header = _first_header(tape) if tape.position == 0 else tape.read(BLOCK, allow_end=True)
    if header == ZEROS:
        second = tape.read(BLOCK, allow_end=True)
        tail = second if end is not None else second + tape.read_up_to(TAIL)
        if tail.strip(b"\0"):
            raise DamageError(
                f"{tape.name} holds more data after its end mark at byte {tape.position}: give tars that were joined"
                " by `cat` as they were before, one by one"
            )
        return None
    if not header:
        if tape.position == begin:
            raise DamageError(f"{tape.name} is empty: copy it again, or leave it out")
        raise DamageError(
            f"{tape.name} ends at byte {tape.position} without the end mark of a tar, so it may be truncated: copy it again,"
            " or, if it is complete, add the mark (head -c 1024 /dev/zero >> FILE)"
        )
    _check_sum(header, tape)
    return header


def _first_header(tape: Tape) -> bytes:
    """Return the first header of a file; raise DamageError if the file is compressed or not a tar."""
    header = tape.read_up_to(BLOCK)
    for magic, program in COMPRESSED.items():
        if header.startswith(magic):
            raise DamageError(compressed(tape.name, program))
    if 0 < len(header) < BLOCK:
        raise DamageError(f"{tape.name} is {len(header)} bytes long, and not a tar: copy it again, or leave it out")
    return header


def compressed(name: str, program: str) -> str:
    """Return the message that a tar is compressed, and how to unpack it."""
    return (
        f"{name} is compressed, so that its images cannot be read in place: unpack it ({program}) and give the tar; images"
        " hardly become smaller by it"
    )


def _check_sum(header: bytes, tape: Tape) -> None:
    """Raise DamageError if the checksum of a header is not that of its bytes, taken as unsigned or as signed numbers."""
    plain = sum(header) - sum(header[148:156]) + 8 * 32
    digits = header[148:156].replace(b"\0", b" ").strip()
    try:
        given = int(digits, 8)
    except ValueError:
        given = -1
    if given != plain and given != plain - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise DamageError(
            f"{tape.name} has no valid header at byte {tape.position - len(header)}: it is damaged, or not a tar"
        )


def _number(field: bytes, tape: Tape) -> int:
    """Return a number of a header, in octal digits or, with the highest bit set, in base 256 (GNU, for 8 GiB and more)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError as error:
        raise _unreadable("the size of a member", tape) from error


def _pax_size(text: str, tape: Tape) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _unreadable("the size of a member", tape)
    return int(text)


def _extension(tape: Tape, header: bytes) -> bytes:
    """Return the content of a member that describes the next one: its pax records or its long name."""
    size = _number(header[124:136], tape)
    if size > LONGEST:
        raise _unreadable(f"a name or description of {size} bytes", tape)
    return tape.read((size + BLOCK - 1) // BLOCK * BLOCK)[:size]


def _records(data: bytes, tape: Tape) -> dict[str, str]:
    """Return pax records: `LENGTH KEY=VALUE` and a line feed, where LENGTH counts the whole record."""
    records, place = {}, 0
    while place < len(data) and data[place]:
        match = RECORD.match(data, place)
        last = place + int(match[1]) - 1 if match else -1
        if not match or last < match.end() or data[last : last + 1] != b"\n":
            raise _unreadable("a pax record", tape)
        key, value = match[2], data[match.end() : last]
        records[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        place = last + 1
    return records


def _skip_map(tape: Tape, header: bytes) -> None:
    """Skip the blocks that continue the map of a sparse file of GNU tar's old format."""
    more = header[482]
    while more:
        more = tape.read(BLOCK)[504]


def _name(header: bytes, records: dict[str, str]) -> str:
    name = records.get("path")
    if name is None:
        raw = header[:100].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and (prefix := header[345:500].partition(b"\0")[0]):
            raw = prefix + b"/" + raw
        name = raw.decode("utf-8", "surrogateescape")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _outside(name: str) -> str:
    if name.startswith("/"):
        return "members with an absolute path"
    return "members with a path that holds `..`" if ".." in name and PARENT.search(name) else ""


def _unreadable(what: str, tape: Tape) -> DamageError:
    return DamageError(f"{tape.name} is damaged before byte {tape.position}: {what} cannot be read. Copy it again")
