"""A few-shot classifier with scikit-learn's interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch import Tensor

from datamodules.reading.image_files import list_images
from datamodules.reading.preprocess import Preprocess
from lightning_meta.core import Examples, FewShotLearner, InputError
from lightning_meta.estimators.base import FewShotEstimator
from lightning_meta.estimators.inputs import is_folder, labelled


class FewShotClassifier(ClassifierMixin, FewShotEstimator):
    """A classifier of your classes from a few examples of each, with scikit-learn's interface.

    `fit` adapts a meta-trained learner to labelled examples, phi = f_theta(D_train); `predict` applies phi. No weights are
    trained beyond what the learner does to adapt. Images are paths, PIL images, or arrays of bytes [height, width] or
    [height, width, channels], of any sizes; they are preprocessed as those that the learner was trained on. A learner that was
    trained on vectors takes arrays of numbers [n, features].

    Example:
        from lightning_meta import FewShotClassifier

        classifier = FewShotClassifier("best.ckpt").fit("examples")  # a folder with one sub-folder for each class
        classifier.predict(["new/a.jpg", "new/b.jpg"])
        classifier.partial_fit(["new/c.jpg"], ["a class that was not there before"])
        classifier.save("mine.ckpt")

    Args:
        source: Checkpoint of `fit`, a file that `save` wrote, or a FewShotLearner.
        preprocess: Steps from an image to the input of the learner, as datamodules.Preprocess(size, channels); by default
            those of the checkpoint. None for a learner of vectors.
        batch: Queries that are predicted at a time; a transductive learner takes all at once.
        skip: Pass over images that cannot be read or decoded. `fit` lists them in `skipped_`; `predict` gives None for them,
            and `predict_proba` a row of NaN.
        abstain: Probability below which `predict` gives None in place of a class; None for a class in any case.
        trust: Packages whose classes the checkpoint may name; their code runs.

    Attributes:
        classes_: The labels, sorted; the columns of `predict_proba`.
        learner_: The learner, theta.
        adapted_: phi.
        transductive_: Whether predictions depend on the other queries of the same call, as measured.
        skipped_: Messages about the examples that were passed over, of `skip`.
    """

    def __init__(
        self,
        source: str | Path | FewShotLearner,
        preprocess: Preprocess | None = None,
        batch: int = 256,
        skip: bool = False,
        abstain: float | None = None,
        trust: Sequence[str] = (),
    ):
        super().__init__(source, preprocess, batch, skip, trust)
        self.abstain = abstain

    def fit(self, X: Any, y: Any = None) -> "FewShotClassifier":  # noqa: N803  scikit-learn's name
        """Adapt to labelled examples.

        Args:
            X: Images, [n], or vectors, [n, features]; or a folder with one sub-folder of images for each class.
            y: Labels [n] of any type that sorts; None where X is a folder.

        Returns:
            This classifier.

        Raises:
            InputError: If there are fewer than two classes, an image cannot be read, or the learner cannot read such inputs.
        """
        if self.abstain is not None and not 0 <= self.abstain <= 1:
            raise InputError(f"abstain is {self.abstain}: give a probability, 0 to 1, or None")
        self._open()
        x, labels = self._labelled(X, y, fitting=True)
        self._learn(x, labels)
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> "FewShotClassifier":  # noqa: N803
        """Adapt to further examples as well, of the same classes or of new ones; those of before are kept.

        Args:
            X: As for `fit`.
            y: As for `fit`.
            classes: All labels, as scikit-learn passes them; each must have an example by now.

        Returns:
            This classifier.
        """
        if not self.__sklearn_is_fitted__():
            self.fit(X, y)
        else:
            x, labels = self._labelled(X, y)
            before = self.classes_[self.support_.y.numpy()]
            self._learn(torch.cat([self.support_.x, x]), np.concatenate([before, labels]))
        if classes is not None and (missing := set(np.asarray(classes).tolist()) - set(self.classes_.tolist())):
            raise InputError(f"classes names {sorted(missing, key=str)[0]!r}, which has no example yet: give one")
        return self

    def add_class(self, name: Any, X: Any) -> "FewShotClassifier":  # noqa: N803
        """Add a class.

        Args:
            name: Its label.
            X: Its examples: images or vectors, or a folder of images.

        Returns:
            This classifier.
        """
        check_is_fitted(self, "adapted_")
        examples = list_images(Path(X)) if is_folder(X) else X
        return self.partial_fit(examples, [name] * len(examples))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class.

        Args:
            X: Images, [n], or vectors, [n, features]; or a folder of images, which are read in the order of their paths.

        Returns:
            Probabilities [n, classes], in the order of `classes_`.
        """
        logits = self._predict(list_images(Path(X)) if is_folder(X) else X)
        return torch.from_numpy(logits).softmax(-1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each image.

        Args:
            X: As for `predict_proba`.

        Returns:
            Labels [n]; None for images that were passed over (`skip`), and where the classifier abstains (`abstain`).
        """
        probabilities = self.predict_proba(X)
        unknown = np.isnan(probabilities[:, 0])
        if self.abstain is not None:
            unknown |= ~(probabilities.max(1) >= self.abstain)
        labels = self.classes_[np.nan_to_num(probabilities).argmax(1)]
        if unknown.any() or self.abstain is not None:
            labels = labels.astype(object)
            labels[unknown] = None
        return labels

    def _labelled(self, x: Any, y: Any, fitting: bool = False) -> tuple[Tensor, NDArray[Any]]:
        """Return examples as the learner reads them, and the label of each."""
        if is_folder(x):
            if y is not None:
                raise InputError("y came beside a folder, whose sub-folders are the classes: leave y out")
            x, y = labelled(x)
        if y is None:
            raise InputError("requires y to be passed, but the target y is None: give a label for each example")
        labels = np.asarray(y)
        if labels.ndim == 2:
            labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
        inputs, is_read = self._read(x, fitting)
        if labels.shape != is_read.shape:
            raise InputError(f"y has shape {list(labels.shape)}, for {len(is_read)} examples: give a label for each")
        if lost := set(labels.tolist()) - set(labels[is_read].tolist()):
            raise InputError(f"no image of {sorted(lost, key=str)[0]!r} decodes: give each class an example")
        return inputs, labels[is_read]

    def _learn(self, x: Tensor, labels: NDArray[Any]) -> None:
        """Make phi of all examples."""
        classes, y = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"the examples are of one class, {classes.tolist()[0]!r}: give two classes or more")
        self._adapt(Examples(x, torch.from_numpy(y.reshape(-1)).long()))
        self.classes_ = classes

    def _labels(self) -> dict[str, Any]:
        names = self.classes_.tolist()
        if bad := [name for name in names if not isinstance(name, (str, int, float, bool))]:
            raise InputError(f"the label {bad[0]!r} cannot be saved: labels in a file are text or numbers")
        return {"labels": names, "abstain": self.abstain}

    def _take(self, saved: dict[str, Any], support: Examples) -> None:
        names, abstain = saved["labels"], saved.get("abstain")
        if not (isinstance(names, list) and len(names) > 1 and all(type(n) in (str, int, float, bool) for n in names)):
            raise ValueError("its labels are not a list of text or numbers")
        if support.y.dtype != torch.int64 or support.y.ndim != 1 or len(np.unique(support.y)) != len(names):
            raise ValueError("its examples and labels do not fit together")
        if int(support.y.min()) != 0 or int(support.y.max()) != len(names) - 1:
            raise ValueError("its examples and labels do not fit together")
        if not (abstain is None or (isinstance(abstain, (int, float)) and 0 <= abstain <= 1)):
            raise ValueError("its threshold is not a probability")
        self.classes_, self.abstain = np.array(names), abstain
        self._adapt(support)
