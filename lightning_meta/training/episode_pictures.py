"""Pictures of episodes with the names of their classes and the answers of the model, and curves of adaptation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_meta.core import Episode, Examples, MDPs, MetaBatch, equal_parts
from lightning_meta.training.base import MetaModule
from lightning_meta.training.measurements import VALIDATION
from lightning_meta.training.task_data import TaskData
from lightning_meta.training.tensorboard import boards

CURVES = {**dict.fromkeys(("steps", "updates", "episode"), "adaptation_curve"), "presentation": "presentation_curve"}
ROWS, SUPPORT, QUERIES = 10, 5, 8  # classes, and examples of each, that a picture shows at most
CELL, GAP, FOOT, HEAD, NAME = 64, 6, 15, 20, 130  # pixels
PAPER, INK, RIGHT, WRONG = "white", "black", "#2e7d32", "#c62828"


class EpisodePictures(Callback):
    """Shows episodes of images in TensorBoard, one class per row, and how adapting changes the score.

    `meta_train/episode` is the first training episode. `meta_val/episode` and `meta_test/episode` are the first episode of
    every validation and of the test, with the answer of the model below each query, mistakes framed and written in red.
    `adaptation_curve` is the score of a test against inner steps, updates or episodes of a trial, and `presentation_curve`
    against presentations of a class.
    """

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  Lightning's signature
        batch: MetaBatch | MDPs,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        if not trainer.global_step:
            show_episode(trainer, "train", "meta_train", batch, None)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: MetaBatch | MDPs,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not (batch_idx or dataloader_idx or trainer.sanity_checking):
            show_episode(trainer, "val", VALIDATION.tag, batch, outputs)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MetaBatch | MDPs,
        batch_idx: int,
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        if not batch_idx and isinstance(pl_module, MetaModule):
            show_episode(trainer, "test", pl_module.test_stage.tag, batch, outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for one in pl_module.measurements if isinstance(pl_module, MetaModule) else ():
            if one.quantity.curve in CURVES:
                for board in boards(trainer):
                    tag = f"{one.quantity.stage.tag}/{CURVES[one.quantity.curve]}"
                    board.add_scalar(tag, one.mean, one.quantity.point)


def show_episode(trainer: Trainer, stage: str, tag: str, batch: MetaBatch | MDPs, prediction: Any) -> None:
    """Write the picture of the first task of a meta-batch, if it is one of images."""
    writers = boards(trainer)
    if not writers or isinstance(batch, MDPs) or (batch := equal_parts(batch)[0]).is_flat:
        return
    if batch.query.x.ndim != 5 or batch.query.x.shape[2] not in (1, 3) or batch.query.y.is_floating_point():
        return
    data = getattr(trainer, "datamodule", None)
    names = data.class_names(stage) if isinstance(data, TaskData) else None
    answers = prediction[0].argmax(-1).cpu() if isinstance(prediction, Tensor) else None
    picture = draw_episode(batch, names, answers)
    for board in writers:
        board.add_image(f"{tag}/episode", picture, trainer.fit_loop.epoch_loop._batches_that_stepped, dataformats="HWC")


def draw_episode(episode: Episode, names: list[str] | None, answers: Tensor | None) -> NDArray[np.uint8]:
    """Draw the first task of a meta-batch: a class per row, its name, support examples and queries.

    Args:
        episode: Images with 1 or 3 channels in 0..1.
        names: Names of the classes by their label; by default their numbers.
        answers: The predicted label [n] of each query, which is written below it; a mistake is red.

    Returns:
        The picture, [height, width, 3].
    """
    support, query = (Examples(part.x[0].cpu(), part.y[0].cpu().long()) for part in episode)
    labels = range(min(ROWS, int(support.y.max()) + 1))
    names = names or [f"class {label}" for label in range(int(support.y.max()) + 1)]
    shown = [(of_class(support, label, SUPPORT), of_class(query, label, QUERIES)) for label in labels]
    left, right = (max(len(row[side]) for row in shown) for side in (0, 1))
    first_query = NAME + left * (CELL + GAP) + 2 * GAP
    row_height = CELL + FOOT + GAP
    picture = Image.new("RGB", (first_query + right * (CELL + GAP), HEAD + len(labels) * row_height), PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    pen.text((NAME, 3), "support", INK, font)
    pen.text((first_query, 3), "queries" if answers is None else heading(query.y, answers), INK, font)
    pen.line([(first_query - GAP - 2, 0), (first_query - GAP - 2, picture.height)], INK, 2)
    for row, (label, (examples, queries)) in enumerate(zip(labels, shown, strict=True)):
        top = HEAD + row * row_height
        pen.text((4, top + CELL // 2 - 6), fitting(names[label], NAME - 8, font), INK, font)
        for place, number in enumerate(examples):
            picture.paste(image_of(support.x[number]), (NAME + place * (CELL + GAP), top))
        for place, number in enumerate(queries):
            x = first_query + place * (CELL + GAP)
            picture.paste(image_of(query.x[number]), (x, top))
            if answers is not None:
                answer = int(answers[number])
                colour = RIGHT if answer == label else WRONG
                pen.rectangle((x - 2, top - 2, x + CELL + 1, top + CELL + 1), outline=colour, width=2)
                pen.text((x, top + CELL + 2), fitting(names[answer], CELL, font), colour, font)
    return np.asarray(picture)


def heading(y: Tensor, answers: Tensor) -> str:
    """The number of right answers among all queries of the task."""
    return f"queries, and the model's answers: {int((answers == y).sum())} of {len(y)} right, mistakes in red"


def of_class(examples: Examples, label: int, limit: int) -> list[int]:
    """The numbers of the first examples of a class."""
    return (examples.y == label).nonzero().flatten().tolist()[:limit]


def image_of(x: Tensor) -> Image.Image:
    """An image [channels, height, width] in 0..1, as large as a cell."""
    channels = (x.float().clamp(0, 1) * 255).round().byte().expand(3, -1, -1)
    return Image.fromarray(channels.permute(1, 2, 0).contiguous().numpy()).resize((CELL, CELL))


def fitting(name: str, width: int, font: Any) -> str:
    """A name in plain ASCII, cut off at its front where it is too wide: its end tells classes apart."""
    name = name.encode("ascii", "replace").decode()
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"..{name}") > width:
        name = name[1:]
    return f"..{name}"
