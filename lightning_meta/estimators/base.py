"""Common parts of the classifier and the regressor: the source of theta, the examples so far, and the file."""

import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from datamodules.index.header import FeatureInfo
from datamodules.index.trained_on import images_of
from datamodules.reading.preprocess import Preprocess
from lightning_meta.config.links import few_shot
from lightning_meta.core import Examples, FewShotLearner, InputError
from lightning_meta.core.errors import check_at_least
from lightning_meta.core.files import whole
from lightning_meta.estimators.adapted import Adapted
from lightning_meta.estimators.inputs import decode, floats, holds_images
from lightning_meta.training.checkpoint import load, load_weights, read
from lightning_meta.training.trust import brief

FORMAT = 1  # of the file
Estimator = TypeVar("Estimator", bound="FewShotEstimator")


class FewShotEstimator(BaseEstimator):
    """theta of a checkpoint or a learner behind `fit` and `predict`. See FewShotClassifier and FewShotRegressor."""

    n_features_in_: int  # of vectors, by scikit-learn's check of them

    def __init__(
        self,
        source: str | Path | FewShotLearner,
        preprocess: Preprocess | None = None,
        batch: int = 256,
        skip: bool = False,
        trust: Sequence[str] = (),
    ):
        self.source, self.preprocess = source, preprocess
        self.batch, self.skip, self.trust = batch, skip, trust

    def _open(self) -> None:
        """Make theta, and find out how its images are preprocessed."""
        check_at_least(1, batch=self.batch)
        if isinstance(self.source, FewShotLearner):
            self.learner_, self.preprocess_ = copy.deepcopy(self.source).eval(), self.preprocess
            self.origin_: dict[str, Any] = {}
        else:
            path, checkpoint = Path(self.source), read(self.source)
            self.learner_ = few_shot(path, load(path, trust=self.trust), type(self).__name__)
            self.preprocess_ = self.preprocess or images_preprocessed(path, checkpoint)
            self.origin_ = checkpoint.get("hyper_parameters", {}).get("learner") or {}

    def _read(self, x: Any, fitting: bool = False) -> tuple[Tensor, NDArray[np.bool_]]:
        """Return inputs as the learner reads them, [n, *shape], and for all that came whether they could be read."""
        if self.preprocess_ is None:
            values = self._vectors(x, fitting)
            return values, np.ones(len(values), bool)
        skipped: list[str] | None = [] if self.skip else None
        arrays = decode(x, self.preprocess_, skipped)
        if fitting:
            self.skipped_ = skipped or []
        if not len(x):
            raise InputError("there are no images: give some")
        if not arrays:
            return torch.empty(0), np.zeros(len(x), bool)
        return floats(list(arrays.values()))[0], np.isin(np.arange(len(x)), list(arrays))

    def _vectors(self, x: Any, fitting: bool) -> Tensor:
        """Return numbers as the learner reads them, checked by scikit-learn."""
        if holds_images(x):
            name = type(self.learner_).__name__ if isinstance(self.source, FewShotLearner) else self.source
            raise InputError(
                f"{name} was not trained on images (by datamodules.images.ImageEpisodes), so it cannot read yours: give"
                " vectors, or preprocess, the steps from an image to the input of the learner"
            )
        kinds: Any = [np.float64, np.float32]
        values: Any = validate_data(self, x, reset=fitting, dtype=kinds, allow_nd=True)
        return torch.tensor(
            values, dtype=next((p.dtype for p in self.learner_.parameters()), torch.get_default_dtype())
        )

    def _adapt(self, support: Examples) -> None:
        """Make phi from labelled examples [n, ...], which come in random order, as those of the streams."""
        order = torch.randperm(len(support.x), generator=torch.Generator().manual_seed(0))
        self.support_ = support
        examples = Examples(support.x[order].unsqueeze(0), support.y[order].unsqueeze(0))
        self.adapted_ = Adapted(self.learner_, examples, self.batch)

    def _predict(self, x: Any) -> NDArray[np.floating]:
        """Return the outputs of phi, with rows of NaN for inputs that could not be read."""
        check_is_fitted(self, "adapted_")
        inputs, is_read = self._read(x)
        if not len(inputs):
            raise InputError("no image can be read: give at least one that decodes")
        outputs = self.adapted_(inputs).double().numpy()
        rows = np.full((len(is_read), outputs.shape[1]), np.nan)
        rows[is_read] = outputs
        return rows

    @property
    def transductive_(self) -> bool:
        """True if predictions depend on the other queries of the same call, as measured."""
        check_is_fitted(self, "adapted_")
        return bool(self.adapted_.observe(2).transductive)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "adapted_")

    def save(self, path: str | Path) -> None:
        """Write phi to a file: theta, the support set and the labels, as tensors and plain values, without pickled objects.

        The file is a checkpoint too, which `lightning_meta.load` and `adapt` read.

        Args:
            path: The file, by convention with the ending .ckpt.

        Raises:
            InputError: If a label is neither text nor a number, or the file cannot be written.
        """
        check_is_fitted(self, "adapted_")
        preprocess = self.preprocess_ and self.preprocess_._asdict()
        memory = io.BytesIO()
        content = {
            "state_dict": {f"learner.{name}": value for name, value in self.learner_.state_dict().items()},
            "hyper_parameters": {"learner": self.origin_},
            type(self).__name__: {
                "format": FORMAT,
                "x": self.support_.x,
                "y": self.support_.y,
                "batch": self.batch,
                **({"preprocess": preprocess} if preprocess else {"n_features": getattr(self, "n_features_in_", None)}),
                **self._labels(),
            },
        }
        torch.save(content, memory)
        with whole(Path(path)) as aside:
            aside.write_bytes(memory.getbuffer())

    @classmethod
    def load(
        cls: type[Estimator], path: str | Path, source: FewShotLearner | None = None, trust: Sequence[str] = ()
    ) -> Estimator:
        """Read what `save` wrote, and make phi again. No code in the file is run.

        Args:
            path: The file.
            source: A learner built like the saved one, if that was given as an object and not as a checkpoint.
            trust: Packages whose classes the file may name.

        Raises:
            InputError: If the file is damaged, is not of this class or version, or names a class that it may not.
        """
        checkpoint = read(path)
        saved = checkpoint.get(cls.__name__)
        if not isinstance(saved, dict):
            raise InputError(f"{path} holds no {cls.__name__}: give a file that {cls.__name__}.save wrote")
        if saved.get("format") != FORMAT:
            raise InputError(
                f"{path} is of format {brief(saved.get('format'))}, and this version reads {FORMAT}: make it again from its"
                " checkpoint"
            )
        estimator = cls(str(path) if source is None else source, trust=tuple(trust))
        if source is not None:
            load_weights(source, checkpoint, path)
            estimator.preprocess = images_preprocessed(Path(path), checkpoint)
        try:
            estimator.batch = check_number(saved.get("batch"))
            x, y = saved["x"], saved["y"]
            if not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.is_floating_point() and len(x) == len(y) > 0):
                raise ValueError("its examples do not fit together")
            estimator._open()
            estimator.skipped_ = []
            if saved.get("n_features") is not None:
                estimator.n_features_in_ = check_number(saved["n_features"])
            estimator._take(saved, Examples(x, y))
        except InputError as error:
            raise InputError(f"{path} does not give a {cls.__name__}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({brief(error)}): make it again from its checkpoint") from error
        return estimator

    def _labels(self) -> dict[str, Any]:
        """Return what the file holds beside the examples."""
        return {}

    def _take(self, saved: dict[str, Any], support: Examples) -> None:  # noqa: ARG002  of a subclass
        """Make phi of what the file holds."""
        self._adapt(support)


def check_number(value: Any) -> int:
    """Return a whole number of 1 or more; raise ValueError otherwise."""
    if type(value) is not int or value < 1:
        raise ValueError(f"a number is {brief(value)}")
    return value


def images_preprocessed(path: Path, checkpoint: dict[str, Any]) -> Preprocess | None:
    """Return how the training images of a checkpoint were preprocessed; None if it was not trained on images.

    Raises:
        InputError: If it was trained on features of images.
    """
    made = images_of(path, checkpoint)
    if isinstance(made, FeatureInfo):
        raise InputError(
            f"{path} was trained on features of {made.backbone}, written by `shards features`, and its inputs are images:"
            " train on the images themselves, with lightning_meta.nn.Frozen for a backbone around this one"
        )
    return made
