"""A few-shot regressor with scikit-learn's interface."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array

from lightning_meta.core import Examples, InputError
from lightning_meta.estimators.base import FewShotEstimator


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """A regressor of your quantity from a few examples, with scikit-learn's interface.

    `fit` adapts a meta-trained learner of real targets to examples, phi = f_theta(D_train); `predict` applies phi.

    Example:
        from lightning_meta import FewShotRegressor

        regressor = FewShotRegressor("runs/sinusoid-maml/version_0/checkpoints/best.ckpt")
        regressor.fit([[0.1], [0.5], [2.0]], [0.3, 1.1, -0.4]).predict([[1.0]])

    Args:
        source: Checkpoint of `fit`, a file that `save` wrote, or a FewShotLearner.
        preprocess: Steps from an image to the input of the learner, by default those of the checkpoint; None for vectors.
        batch: Queries that are predicted at a time; a transductive learner takes all at once.
        skip: Pass over images that cannot be read or decoded. `fit` lists them in `skipped_`; `predict` gives NaN for them.
        trust: Packages whose classes the checkpoint may name; their code runs.

    Attributes:
        learner_: The learner, theta.
        adapted_: phi.
        transductive_: Whether predictions depend on the other queries of the same call, as measured.
        skipped_: Messages about the examples that were passed over, of `skip`.
    """

    def fit(self, X: Any, y: Any) -> "FewShotRegressor":  # noqa: N803  scikit-learn's name
        """Adapt to examples.

        Args:
            X: Vectors [n, features], or images [n].
            y: Targets [n] or [n, d].

        Returns:
            This regressor.

        Raises:
            InputError: If the learner classifies, or cannot read such examples.
        """
        self._open()
        if not self.learner_.regression:
            raise InputError(
                f"{type(self.learner_).__name__} learns classes and no real targets: use FewShotClassifier"
            )
        if y is None:
            raise InputError("requires y to be passed, but the target y is None: give a target for each example")
        targets = check_array(y, ensure_2d=False, dtype="float64", input_name="y")
        inputs, is_read = self._read(X, fitting=True)
        if targets.ndim > 2 or targets.shape[:1] != is_read.shape:
            raise InputError(f"y has shape {list(targets.shape)}, for {len(is_read)} examples: give a target for each")
        if not len(inputs):
            raise InputError("no image can be read: give some that decode")
        self.flat_ = targets.ndim == 1
        columns = targets.reshape(len(targets), -1)[is_read]
        self._adapt(Examples(inputs, torch.tensor(columns, dtype=inputs.dtype)))
        return self

    def predict(self, X: Any) -> NDArray[np.floating]:  # noqa: N803
        """Return the targets of the examples.

        Args:
            X: Vectors [n, features], or images [n].

        Returns:
            Targets [n] or [n, d], as those of `fit` were.
        """
        targets = self._predict(X)
        return targets[:, 0] if self.flat_ and targets.shape[1] == 1 else targets

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _labels(self) -> dict[str, Any]:
        return {"flat": self.flat_}

    def _take(self, saved: dict[str, Any], support: Examples) -> None:
        if type(saved["flat"]) is not bool or support.y.ndim != 2 or not support.y.is_floating_point():
            raise ValueError("its targets are no numbers")
        self.flat_ = saved["flat"]
        self._adapt(support)
