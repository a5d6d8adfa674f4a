"""Families of classes that belong together, from groups or from a hierarchy of names."""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from datamodules.sampling.composition import Numbers, SplitClasses
from lightning_meta.core import InputError

GROUPS = "groups"  # in place of a file: the groups of the index


def families(classes: SplitClasses, hierarchy: str, least: int, most: int) -> list[Numbers]:
    """Return the families of a split with `least` to `most` classes, each as the numbers of its classes.

    Args:
        classes: The classes of the split.
        hierarchy: `groups`, of which each is a family whatever its size; or a CSV file of child and parent, in which every
            node but the classes themselves is one.
        least: The smallest number of classes of a family.
        most: The largest number of classes of a family of a CSV file.

    Raises:
        InputError: If there are no groups, the file is not a hierarchy of these classes, or no family is left.
    """
    if hierarchy == GROUPS:
        found = [members for members in of_groups(classes) if len(members) >= least]
        kind = "group"
    else:
        found = [members for members in of_nodes(classes, hierarchy) if least <= len(members) <= most]
        kind = f"node of {hierarchy} below which there are at most {most} classes"
    if not found:
        raise InputError(f"{classes.where} has no {kind} with {least} classes or more: ask for fewer ways")
    return found


def of_groups(classes: SplitClasses) -> list[Numbers]:
    """Return the classes of each group, by the number of the group; raise InputError if there are none."""
    if classes.groups is None:
        raise InputError(
            f"the classes of {classes.where} have no groups: write or index the set again with groups, or choose classes"
            " without them"
        )
    order = np.argsort(classes.groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(classes.groups[order])) + 1)


def of_nodes(classes: SplitClasses, path: str) -> list[Numbers]:
    """Return the classes of the split below each node of a hierarchy, in the order of the names of the nodes.

    A node with a single child that has classes of the split below it is passed over: it has the same classes as the child.
    """
    children = read_hierarchy(path)
    members = defaultdict[str, list[int]](list)  # several where new classes are made of one
    for i in range(len(classes.counts)):
        members[classes.name(i)].append(i)
    number = {name: i for i, name in enumerate(members)}
    below = classes_below(children, number, path)
    known = children.keys() | {child for own in children.values() for child in own}
    if missing := [name for name in number if name not in known]:
        raise InputError(
            f"{len(missing)} of {len(number)} classes of {classes.where} are not in {path}, for example {missing[0]!r}: give"
            " a hierarchy that names every class"
        )
    nodes = [
        node
        for node in sorted(children)
        if node not in number and sum(1 for child in children[node] if below[child]) > 1 and below[node]
    ]
    numbers = list(members.values())
    return [np.array(sorted(i for name in below[node] for i in numbers[name])) for node in nodes]


def classes_below(children: dict[str, list[str]], number: dict[str, int], path: str) -> dict[str, frozenset[int]]:
    """Return the numbers of the classes that are a node or below it, for each node; raise InputError for a cycle."""
    below, open_nodes = dict[str, frozenset[int]](), set[str]()
    stack = [(node, False) for node in children]
    while stack:
        node, is_expanded = stack.pop()
        if node in below:
            continue
        if is_expanded:
            own = frozenset([number[node]] if node in number else [])
            below[node] = own.union(*(below[child] for child in children.get(node, [])))
            open_nodes.discard(node)
            continue
        open_nodes.add(node)
        stack.append((node, True))
        for child in children.get(node, []):
            if child in open_nodes:
                raise InputError(
                    f"{path} is not a hierarchy: {child!r} is below itself. Remove one of the lines in that circle"
                )
            stack.append((child, False))
    return below


def read_hierarchy(path: str) -> dict[str, list[str]]:
    """Return the children of each node of a CSV file with the columns child and parent, which need not be a tree."""
    children: dict[str, list[str]] = defaultdict(list)
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            if [part.strip() for part in next(lines, [])] != ["child", "parent"]:
                raise InputError(
                    f"{path} does not begin with the line child,parent: give a CSV file with these columns"
                )
            for line in filter(None, lines):
                if len(line) != 2 or not all(line):
                    raise InputError(
                        f"line {lines.line_num} of {path} is {','.join(line)!r}: give a child and a parent"
                    )
                child, parent = line
                if child not in children[parent]:
                    children[parent].append(child)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file of child,parent: {error}") from error
    return dict(children)


def describe_hierarchy(hierarchy: str | None) -> str | None:
    """Return a hierarchy for a report: its file by a digest of its content too, so that another one is not taken for it."""
    if hierarchy is None or hierarchy == GROUPS:
        return hierarchy
    try:
        return f"{hierarchy} (sha256 {hashlib.sha256(Path(hierarchy).read_bytes()).hexdigest()[:12]})"
    except OSError as error:
        raise InputError(f"{hierarchy} cannot be read as a CSV file of child,parent: {error}") from error
