"""The choice of characters, their blocks, and their splits, which depend on nothing but the seed."""

from collections import Counter

import pytest

from datamodules.sources.characters import block_of, chosen, split_of

SHARES = (0.64, 0.16, 0.2)


@pytest.mark.parametrize(
    ("given", "taken", "left"),
    [
        # Compatibility forms (fullwidth A, the digit one in a circle), marks, spaces and punctuation are left out.
        (None, "A\u0439\u4e00\uac00\u2211\u263a5", "\uff21\u2460\u0301 \u3000.\n\u02b0\ue000"),
        ("Han", "\u4e00\u3400\U00020000", "\uac00A\uf900"),
        ("hangul, Latin", "\uac00A", "\u4e00\uff21"),
        ("Hangul Syllables", "\uac00", "\u1100"),
        ("U+4E00-U+4E02", "\u4e00\u4e02", "\u4e03\u4dff"),
        ("U+FF21,3001", "\uff21\u3001", "\uff22"),  # a range is taken as it is
    ],
)
def test_characters_are_chosen_by_range_block_or_script(given: str | None, taken: str, left: str) -> None:
    is_chosen = chosen(given)
    assert [character for character in taken if not is_chosen(ord(character))] == []
    assert [character for character in left if is_chosen(ord(character))] == []


def test_the_group_of_a_character_is_its_block() -> None:
    assert [block_of(ord(character)) for character in "A\u4e00\uac00\U00020000"] == [
        "Basic Latin",
        "CJK Unified Ideographs",
        "Hangul Syllables",
        "CJK Unified Ideographs Extension B",
    ]


def test_the_split_of_a_character_follows_the_fractions_and_the_seed() -> None:
    codes = range(0x4E00, 0x4E00 + 10_000)
    splits = [split_of(code, SHARES, 0) for code in codes]
    counts = Counter(splits)
    for split, share in zip(("train", "val", "test"), SHARES, strict=True):
        assert abs(counts[split] / 10_000 - share) < 0.02  # four standard deviations
    assert splits[:100] == [split_of(code, SHARES, 0) for code in codes[:100]]
    assert splits[:100] != [split_of(code, SHARES, 1) for code in codes[:100]]
