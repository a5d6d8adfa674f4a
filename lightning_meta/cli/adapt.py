"""lightning-meta adapt: put a meta-trained model to use on new classes."""

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import track

from datamodules.reading.image_files import list_images
from lightning_meta.config.parser_errors import Complaining, add_trust
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least
from lightning_meta.core.files import check_writable, whole
from lightning_meta.estimators.inputs import decode

if TYPE_CHECKING:
    from lightning_meta.estimators import FewShotClassifier


def adapt(
    ckpt: Path,
    support: Path | None = None,
    query: Path | None = None,
    out: Path = Path("predictions.csv"),
    save: Path | None = None,
    batch: int = 256,
    skip: bool = False,
    abstain: float | None = None,
    trust: list[str] | None = None,
) -> None:
    """Adapt to new classes from a folder of labelled examples, and classify other images.

    Writes a CSV, in UTF-8, with a row for each query image: its path, the predicted class, the probability of that class. The
    adapted model can be saved, and used again without the examples. lightning_meta.FewShotClassifier is the same in Python.

    Args:
        ckpt: checkpoint of `fit` on images, or a file that `--save` wrote.
        support: folder with one sub-folder of examples for each class; a class may have any number of them. Leave it out with
            a file that `--save` wrote, which holds them.
        query: folder of images to classify, sub-folders included; it may be left out with `--save`.
        out: CSV file to write.
        save: file to write the adapted model to.
        batch: images classified at a time; a transductive learner takes all at once.
        skip: pass over images that cannot be read or do not decode, and count them; a query image keeps its row, without a
            class.
        abstain: probability below which an image gets no class; by default each gets one.
        trust: packages whose classes the checkpoint may name.
    """
    if query is None and save is None:
        raise InputError(
            "neither query nor save is given: give --query FOLDER to classify, --save FILE to keep the model"
        )
    check_at_least(1, batch=batch)
    if abstain is not None and not 0 <= abstain <= 1:
        raise InputError(f"--abstain is {abstain}: give a probability, 0 to 1, or leave it out")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: give the name of a CSV file")
    check_writable(*([out] if query else []), *([save] if save else []))
    classifier = adapted(ckpt, support, batch, skip, abstain, trust or [])
    paths = list_images(query) if query else []
    if classifier.preprocess_ is None:
        raise InputError(f"{ckpt} classifies vectors, and adapt reads images: use FewShotClassifier in Python")
    if save:
        classifier.save(save)
        print(f"{save}: {len(classifier.classes_)} classes of {len(classifier.support_.x)} examples")
    if paths:
        classify(classifier, paths, out)


def adapted(
    ckpt: Path, support: Path | None, batch: int, skip: bool, abstain: float | None, trust: list[str]
) -> "FewShotClassifier":
    """Return a classifier, adapted to the examples in a folder or, without one, as the file `ckpt` has it."""
    from lightning_meta.estimators import FewShotClassifier

    if support is not None:
        return FewShotClassifier(ckpt, None, batch, skip, abstain, trust).fit(support)
    try:
        classifier = FewShotClassifier.load(ckpt, trust=trust)
    except InputError as error:
        raise InputError(
            f"{error}; of a checkpoint of `fit`, give --support FOLDER too, with a sub-folder of examples for each class"
        ) from error
    classifier.skip, classifier.batch, classifier.adapted_.batch = skip, batch, batch
    classifier.abstain = classifier.abstain if abstain is None else abstain
    return classifier


def classify(classifier: "FewShotClassifier", paths: list[Path], out: Path) -> None:
    """Write the predicted class of each image, and its probability, and print what a user should know of them."""
    batch, skipped = classifier.batch, classifier.skipped_ if classifier.skip else None
    learner = classifier.adapted_.observe(len(paths))
    if learner.noisy:
        print("predictions change from call to call: the backbone draws random numbers")
    if learner.transductive:
        print("transductive: a prediction depends on the other query images, which are classified all at once")
        batch = len(paths)
    names, unsure = classifier.classes_.tolist(), 0
    with whole(out) as aside, aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "class", "probability"))
        for start in track(range(0, len(paths), batch), "images"):
            part = paths[start : start + batch]
            assert classifier.preprocess_
            images = decode(part, classifier.preprocess_, skipped)
            rows = iter(classifier.predict_proba(list(images.values())) if images else ())
            for place, path in enumerate(part):
                cells = ("", "")
                if place in images:
                    row = next(rows)
                    sure = classifier.abstain is None or row.max() >= classifier.abstain
                    cells = (names[row.argmax()] if sure else "", f"{row.max():.6f}")
                    unsure += not sure
                writer.writerow((written(path), *map(written, cells)))
    for message in (skipped or [])[:10]:
        print(f"skipped: {message}")
    if skipped:
        print(f"{len(skipped)} images cannot be read or decoded and were skipped")
    if classifier.abstain is not None:
        print(f"{unsure} of {len(paths)} images got no class, with a probability below {classifier.abstain:g}")
    print(f"{out}: {len(paths)} images, {len(classifier.classes_)} classes")


def written(text: Path | str) -> str:
    """Return a name for a file in UTF-8: the very bytes that the file system has, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def run(argv: list[str]) -> None:
    parser = Complaining(prog="lightning-meta adapt", description=(adapt.__doc__ or "").split("Args:")[0].strip())
    parser.add_function_arguments(adapt, as_positional=False, skip={"trust"})
    add_trust(parser)
    adapt(**parser.parse_args(argv).as_dict())
