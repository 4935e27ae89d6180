"""Transformers: images to features or embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..api.arguments import check_families, check_numbers, check_scale, check_text, check_texts
from ..encoders.options import EncoderOptions, names_in
from ..encoders.registry import ENCODER, open_with
from ..extraction.images import Images, images_of
from ..extraction.selection import families_named
from ..extraction.transformer import device_of, measure
from ..learn.estimators import (
    for_scikit_learn,
)
from ..sources.fitting import how_named


class _ImageTransformer(TransformerMixin, BaseEstimator):
    """What `PatchFeatures` and `PatchEmbeddings` share. Nothing is learned from images."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.no_validation = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # the same for scikit-learn 1.5
        return {"X_types": [], "requires_fit": False, "no_validation": True}

    def _families(self) -> Sequence[Any]:
        raise NotImplementedError

    def _columns(self) -> list[str]:
        return [column for family in self._families() for column in family.columns]

    @for_scikit_learn
    def fit(self, X: Any, y: Any = None) -> _ImageTransformer:
        """Check the parameters and the form of the images. Nothing is learned.

        Parameters
        ----------
        X : ndarray of uint8, shape (n_images, 96, 96, 3), or sequence of paths or PIL images
            Images in RGB. With `other_sizes`, all have one height and width, which may be any.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        InputError
            If a parameter or the form of the images is wrong.
        """
        self._check_parameters()
        self._images(X)
        self.n_features_out_ = len(self._columns())
        return self

    @for_scikit_learn
    def transform(self, X: Any) -> np.ndarray:
        """Return one row of features per image.

        Parameters
        ----------
        X : ndarray of uint8, shape (n_images, 96, 96, 3), or sequence of paths or PIL images
            Images in RGB. With `other_sizes`, all have one height and width, which may be any.

        Returns
        -------
        ndarray of float32, shape (n_images, n_features_out_)
            A DataFrame after ``set_output(transform="pandas")``.

        Raises
        ------
        InputError
            If an image cannot be read or is not a patch.
        """
        self._check_parameters()
        images, families = self._images(X), self._families()
        return measure(images, families, threads=self.threads, device=self._device())[0]

    def _check_parameters(self) -> None:
        """Raise InputError for a parameter that is wrong by itself."""
        check_numbers(threads=self.threads)
        check_sizes(self.other_sizes, self.mpp)
        self._device()

    def _images(self, X: Any) -> Images:
        return images_of(X, self.other_sizes, self.mpp)

    def _device(self) -> str:
        return "cpu"

    @for_scikit_learn
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, in order.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects, shape (n_features_out_,)
            Names such as ``color__mean__patch_red``.
        """
        return np.array(self._columns(), dtype=object)


class PatchFeatures(_ImageTransformer):
    """Hand-made features of image patches.

    Parameters
    ----------
    families : str or sequence of str, default="all"
        Names of families, in a list or comma-separated. "all" means all hand-made families.
    threads : int, default=0
        Number of threads. 0 means one per core. Use 1 inside `cross_val_score(..., n_jobs=-1)`.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where to compute the features.
    other_sizes : {"resize", "crop", "tile"}, default=None
        How images of another size are brought to 96×96 pixels, as the argument `fit` of
        `pcam_features.features` does. None means that other sizes are an error.
    mpp : float, default=None
        Micrometers per pixel of the images, with `other_sizes`: images are brought to PCam's scale of
        0.972 first. None means that the scale is unknown.

    Attributes
    ----------
    n_features_out_ : int
        Number of columns.

    See Also
    --------
    PatchEmbeddings : Features from a pretrained network.

    Examples
    --------
    >>> import numpy as np
    >>> from pcam_features.sklearn import PatchFeatures
    >>> images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    >>> features = PatchFeatures(families="color", threads=1).set_output(transform="pandas")
    >>> table = features.fit_transform(images)
    >>> table.shape
    (2, 364)
    >>> table.columns[0]
    'color__mean__patch_red'
    """

    def __init__(
        self,
        families: str | Sequence[str] = "all",
        *,
        threads: int = 0,
        device: str = "cpu",
        other_sizes: str | None = None,
        mpp: float | None = None,
    ) -> None:
        self.families = families
        self.threads = threads
        self.device = device
        self.other_sizes = other_sizes
        self.mpp = mpp

    def _families(self) -> Sequence[Any]:
        check_families(self.families)
        return families_named(self.families)

    def _device(self) -> str:
        return device_of(self.device)


class PatchEmbeddings(_ImageTransformer):
    """Activations of a pretrained network for image patches.

    Parameters
    ----------
    encoder : str, default="efficientnet_lite0"
        "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", the path of an ONNX file,
        "timm:NAME[:WEIGHTS]", or the folder of a network that ``fit_network`` trained. Such a network
        knows the labels of the patches that it has learned from, so do not fit on these.
    size : int, default=None
        Side in pixels to which patches are resized. None means the encoder's default.
    depths : sequence of str, default=None
        Blocks to take activations from, such as ``["block02", "head"]``. None means the default.
    pools : sequence of str, default=None
        How to pool activations: "mean", "center", "deviation", "maximum". None means the default.
    views : {1, 4, 8}, default=None
        Average over this many rotations and reflections. None means the encoder's default.
    precision : {"f32", "bf16"}, default=None
        Arithmetic of the network. None means "f32".
    runtime : str, default=None
        The library that runs the network. None means the encoder's default.
    threads : int, default=0
        Number of threads. 0 means one per core.
    other_sizes : {"resize", "crop", "tile"}, default=None
        How images of another size are brought to 96×96 pixels, as the argument `fit` of
        `pcam_features.features` does. None means that other sizes are an error.
    mpp : float, default=None
        Micrometers per pixel of the images, with `other_sizes`: images are brought to PCam's scale of
        0.972 first. None means that the scale is unknown.

    Attributes
    ----------
    n_features_out_ : int
        Number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from pcam_features.sklearn import PatchEmbeddings
    >>> images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    >>> embeddings = PatchEmbeddings(depths=["block02"], pools=["mean"], threads=1)
    >>> embeddings.fit_transform(images).shape
    (2, 24)
    """

    def __init__(
        self,
        encoder: str = ENCODER,
        *,
        size: int | None = None,
        depths: Sequence[str] | None = None,
        pools: Sequence[str] | None = None,
        views: int | None = None,
        precision: str | None = None,
        runtime: str | None = None,
        threads: int = 0,
        other_sizes: str | None = None,
        mpp: float | None = None,
    ) -> None:
        self.encoder = encoder
        self.size = size
        self.depths = depths
        self.pools = pools
        self.views = views
        self.precision = precision
        self.runtime = runtime
        self.threads = threads
        self.other_sizes = other_sizes
        self.mpp = mpp

    def _families(self) -> Sequence[Any]:
        check_text(encoder=self.encoder, precision=self.precision, runtime=self.runtime)
        check_texts(depths=self.depths, pools=self.pools)
        options = EncoderOptions(
            encoder=self.encoder,
            size=self.size,
            depths=names_in(self.depths),
            pools=names_in(self.pools),
            views=self.views,
            precision=self.precision,
            runtime=self.runtime,
        )
        return [open_with(options)]


def check_sizes(other_sizes: Any, mpp: Any) -> None:
    """Raise InputError if these do not say how images of another size are brought to 96×96 pixels."""
    check_scale(mpp)
    if other_sizes is not None:
        check_text(other_sizes=other_sizes)
        how_named(other_sizes)
