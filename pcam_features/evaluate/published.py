"""What others report on PatchCamelyon: other people's numbers, not ours to vouch for."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    model: str
    protocol: str
    score: str
    source: str


OWN_REPORT = "its authors' own report"
NOTE = (
    "Other people's figures under other protocols, as they report them: ROC AUC unless said. They are "
    "not comparable with the figures above to the last digits."
)
SCORES = (
    Published("pixels, logistic regression", "PCam test, all of train", "0.655", OWN_REPORT),
    Published(
        "four small Keras CNNs", "Kaggle public / private", "0.867 / 0.785", "mini-project's notebook"
    ),
    Published("Keras CNN of students", "PCam test", "0.846", OWN_REPORT),
    Published("ResNet-50 of ImageNet, linear / fine-tuned", "PCam test", "0.877 / 0.947", OWN_REPORT),
    Published("custom CNN", "PCam test", "0.921", OWN_REPORT),
    Published("ResNet-18 with transformer", "PCam test", "0.939", OWN_REPORT),
    Published("P4M-DenseNet", "PCam test", "0.963", "Veeling et al., MICCAI 2018"),
    Published("DINOv3 ViT-S, linear / fine-tuned", "PCam test", "0.971 / 0.980", OWN_REPORT),
    Published(
        "pathology foundation models, linear", "PCam test, balanced accuracy", "0.93–0.955", OWN_REPORT
    ),
    Published("color, texture, pixel PCA, XGBoost", "Kaggle, random split", "0.970", OWN_REPORT),
    Published("genetic programs over scikit-image", "PCam test, balanced accuracy", "0.78", OWN_REPORT),
    Published("best honest late submissions", "Kaggle private", "0.98", "Kaggle's leaderboard"),
)
