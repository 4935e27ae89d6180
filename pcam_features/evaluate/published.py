"""Scores that others have published for PatchCamelyon; pcam has not verified them."""

from __future__ import annotations

from typing import NamedTuple


class PublishedScore(NamedTuple):
    """A model's score under a protocol, and who reported it."""

    model: str
    protocol: str
    score: str
    source: str


OWN_REPORT = "reported by its authors"
NOTE = (
    "Published by others, under other protocols, and not verified by pcam; ROC AUC unless stated "
    "otherwise. Small differences from the scores above are not meaningful."
)
SCORES = (
    PublishedScore("pixels, logistic regression", "PCam test, all of train", "0.655", OWN_REPORT),
    PublishedScore(
        "four small Keras CNNs", "Kaggle public / private", "0.867 / 0.785", "mini-project notebook"
    ),
    PublishedScore("Keras CNN, student project", "PCam test", "0.846", OWN_REPORT),
    PublishedScore(
        "ResNet-50 (ImageNet), linear / fine-tuned", "PCam test", "0.877 / 0.947", OWN_REPORT
    ),
    PublishedScore("custom CNN", "PCam test", "0.921", OWN_REPORT),
    PublishedScore("ResNet-18 with transformer", "PCam test", "0.939", OWN_REPORT),
    PublishedScore("P4M-DenseNet", "PCam test", "0.963", "Veeling et al., MICCAI 2018"),
    PublishedScore("DINOv3 ViT-S, linear / fine-tuned", "PCam test", "0.971 / 0.980", OWN_REPORT),
    PublishedScore(
        "pathology foundation models, linear", "PCam test, balanced accuracy", "0.93–0.955", OWN_REPORT
    ),
    PublishedScore("color, texture, pixel PCA, XGBoost", "Kaggle, random split", "0.970", OWN_REPORT),
    PublishedScore(
        "genetic programming on scikit-image features",
        "PCam test, balanced accuracy",
        "0.78",
        OWN_REPORT,
    ),
    PublishedScore(
        "best late submissions without leaked labels", "Kaggle private", "0.98", "Kaggle leaderboard"
    ),
)
