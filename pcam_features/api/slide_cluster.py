"""Maps of slides by the workers of a cluster. A unit of work is a part of a map: a strip of centers.

A worker opens the slide and the model itself, and sends the probabilities back; the client keeps them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .. import __version__
from ..constants import Adapt, Device
from ..encoders.options import EncoderOptions
from ..engine.devices import choose
from ..errors import InputError
from ..execution.cluster import Dask, blas_threads
from ..extraction.measuring import kernels_in
from ..extraction.on_cluster import PACKAGES, check_same_pcam, compile_in_turn, kept, ready_workers
from ..learn.bundle import model_sum
from ..learn.predict import families_read
from ..slides.grid import Grid, SlidePatches
from ..slides.mapping import slide_seen
from ..slides.predictor import Predictor
from ..slides.reading import Slide, open_slide
from .model import open_model
from .predicting import families_of


@dataclass(frozen=True)
class MapJob:
    """What the units of a map have in common.

    Parameters
    ----------
    version
        The version of pcam.
    slide, seen, mpp
        The slide's path, what the client sees of it, and its micrometers per pixel.
    model, model_sum, encoder
        The model's path and sum, and the encoder that it takes.
    grid
        The grid of the map.
    device
        Where kernels run; `auto` is each worker's own choice.
    threads
        Number of threads of a unit.
    blas
        Number of threads of products of matrices, as in the client: rounding depends on it, and Dask
        starts workers with one.
    """

    version: str
    slide: str
    seen: tuple[Any, ...]
    mpp: float
    model: str
    model_sum: str
    encoder: str | None
    grid: Grid
    device: Device
    threads: int
    blas: int


@dataclass(frozen=True)
class PartToPredict:
    """A unit of work: row and column of each center, int32 (centers, 2)."""

    job: MapJob
    places: np.ndarray


KEPT = 4  # models that a worker process keeps open, for maps that are made at the same time


def open_job(job: MapJob) -> Predictor:
    """The model of a job, open. Raises InputError if this worker sees another slide or model."""
    threadpool_limits(job.blas, user_api="blas")  # stays, because units of this job may overlap
    return _open(job)


@kept(KEPT)
def _open(job: MapJob) -> Predictor:
    check_same_pcam(job.version)
    with open_slide(job.slide, job.mpp) as slide:
        if slide_seen(slide) != job.seen:
            raise InputError(f"it sees another slide {job.slide}, or reads it with another reader")
    model = open_model(job.model)
    if model_sum(model.path) != job.model_sum:
        raise InputError(f"it sees another model {job.model}")
    target, _ = choose(job.device)
    families = families_of(model.bundle, families_read(model.bundle, Adapt.none), job.encoder)
    compile_in_turn(target, kernels_in(families))
    device = Device(target.NAME)
    return Predictor(model.path, model.bundle, families, families, job.threads, device)


async def get_ready(job: MapJob) -> None:
    """Open a job on a worker, beside its event loop."""
    await asyncio.to_thread(open_job, job)


def predict_part(unit: PartToPredict) -> np.ndarray:
    """Predict the centers of a part on a worker."""
    predictor = open_job(unit.job)
    with open_slide(unit.job.slide, unit.job.mpp) as slide:
        patches = SlidePatches(slide, unit.job.grid, unit.places)
        return predictor.probabilities(patches, lambda done: None)


@dataclass(frozen=True)
class ClusterCrew:
    """The workers of a cluster; see `mapping.Crew`."""

    executor: Dask
    job: MapJob

    def predict(
        self, parts: Sequence[np.ndarray], progress: Callable[[int], None]
    ) -> Generator[np.ndarray]:
        """See `mapping.Crew`."""
        progress(0)
        units = (PartToPredict(self.job, places) for places in parts)
        with closing(self.executor.map(predict_part, units)) as results:
            for values in results:
                progress(len(values))
                yield values


def ready_crew(
    executor: Dask,
    slide: Slide,
    model: Path,
    stride: int,
    encoder: str | None,
    device: Device,
    threads: int,
) -> ClusterCrew:
    """The workers of a cluster, ready to predict a slide's parts.

    Raises InputError if a worker has another version, or sees another slide or model.
    """
    job = MapJob(
        version=__version__,
        slide=str(slide.path.absolute()),
        seen=slide_seen(slide),
        mpp=slide.mpp,
        model=str(model.absolute()),
        model_sum=model_sum(model),
        encoder=EncoderOptions(encoder).absolute().encoder,
        grid=Grid.of(slide.width, slide.height, slide.mpp, stride),
        device=device,
        threads=threads,
        blas=blas_threads(),
    )
    ready_workers(executor, PACKAGES, get_ready, job, "the slide and the model at the same paths")
    return ClusterCrew(executor, job)
