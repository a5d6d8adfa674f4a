"""Learners as scikit-learn estimators: `fit` makes phi from a support set, `predict` applies it."""

from lightning_meta.estimators.classifier import FewShotClassifier
from lightning_meta.estimators.regressor import FewShotRegressor

__all__ = ["FewShotClassifier", "FewShotRegressor"]
