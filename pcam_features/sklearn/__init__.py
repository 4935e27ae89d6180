"""scikit-learn estimators: features and embeddings of images, and the model of `pcam fit`.

Pickles of these objects, as of all scikit-learn objects, are for your own use: loading a pickle can run
any code. To hand a model to others, use `pcam fit`, whose models open without running code.
"""

from __future__ import annotations

from ..learn.estimators import NystroemRidgeClassifier, PseudoSlideKFold
from .classifier import PatchClassifier
from .transformers import PatchEmbeddings, PatchFeatures

__all__ = [
    "NystroemRidgeClassifier",
    "PatchClassifier",
    "PatchEmbeddings",
    "PatchFeatures",
    "PseudoSlideKFold",
]
