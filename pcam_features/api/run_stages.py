"""A run of the whole road that can be planned, and then done: its stages and their results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import TRAIN
from ..errors import InputError
from ..execution.cluster import Dask
from ..learn.stack import COMBINED
from ..sources.source import Source, Split
from ..storage.files import check_file, readable, sha256, write_text
from ..storage.folders import copy_folder, is_marked, one_process, recover, sweep
from ..storage.links import check_written
from ..storage.resumable import (
    PLAN_KEY,
    differences,
    in_the_making,
    is_bare,
    settle,
    unfinished,
)
from ..storage.sums import FileSum
from ..store.layout import MANIFEST
from ..store.manifest import Fingerprint, SourceRecord
from ..store.names import copies_of
from ..store.trained_on import check_unlearned
from ..words import counted
from .comparing import compare
from .data import (
    Extraction,
    Log,
    open_store,
    to_train_on,
    unheard,
)
from .estimating import Amount, RunPlan, free_bytes, memory_of, seconds_of
from .fitting import fit
from .model import Model, open_model
from .preparing import check_source
from .progress import Progress
from .run_record import KEY, RECORD, RunOptions, RunRecord
from .stages import staged

PLAN_VERSION = 1  # of a run that will replace another
CHECK_PAGE, FEATURES, MODEL, CARD = "check.html", "features", "model", "card.md"
SUBMISSION, PREDICTIONS, REPORT = "submission.csv", "predictions", "report.html"
# Settings that decide which features a store holds: if others are the same, its features are kept.
OF_PATCHES = ("source", "patches")
UNREADABLE = "unreadable"  # the finding of a check without which features cannot be computed


def training_split(source: Source) -> Split:
    """The split to learn from: `train`, or the only one with labels. Raises InputError if unclear."""
    training = to_train_on(list(source.splits.values()))
    if len(training) != 1:
        names = ", ".join(split.name for split in training) or "none"
        raise InputError(
            f"{source.path} needs one labeled split to learn from, and there are: {names}; name the "
            f"split to learn from {TRAIN!r}, or use pcam extract and pcam fit."
        )
    return training[0]


def digests(split: Split) -> dict[str, str]:
    """Digests of a split: of its ids, labels and slides, and of what is known of its files."""
    content = sha256(split.content(0, len(split)).encode())
    return Fingerprint.of(split).to_dict() | {"content": content}


def sum_of(result: Path) -> str:
    """The sum of a file, or of the manifest of a store or model; empty if it is not there."""
    file = result / MANIFEST if result.is_dir() else result
    return str(FileSum.of_file(file)) if file.is_file() else ""


class Run:
    """A run that can be planned, and then done.

    Parameters
    ----------
    source, path, options, overwrite, log
        See `run`.
    """

    def __init__(
        self, source: Source, path: Path, options: RunOptions, *, overwrite: bool, log: Log
    ) -> None:
        self.source, self.path, self.options = source, path, options
        self.log, self.overwrite = log, overwrite
        self.train = training_split(source)
        for family in options.families:
            if family.trained_on is not None:
                seen = family.trained_on.among(self.train)
                check_unlearned(family.name, seen, self.train.name, len(self.train))
        self.others = [
            split for split in source.splits.values() if split is not self.train and len(split)
        ]
        patches = {name: digests(split) for name, split in source.splits.items()}
        record = SourceRecord.of(source).to_dict()
        self.settings = {"source": record, "patches": patches} | options.deciding()
        if options.sample is not None and SUBMISSION not in map(self.predictions, self.others):
            raise InputError(
                f"{source.path} has no single split without labels that --sample could be of; leave "
                "out --sample."
            )
        self.place = path  # the folder of the work: `path`, or a new one that will replace it
        self.kept_features: Path | None = None  # of a run that is replaced, of the same patches
        self.known = self._known()

    def _known(self) -> RunRecord:
        """The record of an earlier run of these settings, or a new one.

        Raises InputError if the folder is not a run's, or holds another run and is not to be replaced.
        """
        recover(self.path, RECORD, KEY)
        if not is_marked(self.path, RECORD, KEY):
            if self.path.exists() and not is_bare(self.path):
                raise InputError(
                    f"{self.path} exists and was not made by pcam run; choose another folder."
                )
            check_file(self.path / RECORD)
            return RunRecord(self.settings)
        known = RunRecord.read(self.path)
        finished = set(STAGES) <= set(known.seconds)
        if known.settings == self.settings and not (self.overwrite and finished):
            return known
        if not self.overwrite:
            changed = differences(known.settings, self.settings)
            raise InputError(
                f"{self.path} holds a run that differs in {changed}; use the same settings to continue "
                "it, another folder, or --overwrite to replace it."
            )
        self.place = unfinished(self.path)
        if all(known.settings.get(name) == self.settings[name] for name in OF_PATCHES):
            self.kept_features = self.path / FEATURES
        if is_marked(self.place, RECORD, KEY):
            begun = RunRecord.read(self.place)
            if begun.settings == self.settings:
                return begun
        return RunRecord(self.settings)

    @property
    def done(self) -> list[str]:
        """The stages that are done: recorded, with their results as they were, and all before them."""
        found = []
        for stage in STAGES:
            if stage not in self.known.seconds or not all(map(self.is_whole, self.results(stage))):
                break
            found.append(stage)
        return found

    def is_whole(self, result: Path) -> bool:
        """Whether a file, or a folder by its manifest, is as it was when its stage was finished."""
        name = result.relative_to(self.place).as_posix()
        return name in self.known.sums and self.known.sums[name] == sum_of(result)

    @property
    def left(self) -> list[str]:
        """The stages that are left."""
        done = self.done
        return [stage for stage in STAGES if stage not in done]

    def use(self, executor: Dask) -> None:
        """Have a cluster do the work."""
        units = executor.workers
        self.options = replace(self.options, cluster=executor.client, units=units)

    def results(self, stage: str) -> list[Path]:
        """The files and folders that a stage makes."""
        names = {
            "check": [CHECK_PAGE],
            "extract": [FEATURES],
            "fit": [MODEL, CARD],
            "predict": [self.predictions(split) for split in self.others],
            "report": [self.page(split) for split in self.reported],
        }
        return [self.place / name for name in names[stage]]

    @property
    def reported(self) -> list[Split]:
        """The splits that reports are on: those with labels, the one that was learned from first."""
        return [self.train, *(split for split in self.others if split.labels is not None)]

    def page(self, split: Split) -> str:
        """The file of a split's report."""
        return REPORT if split is self.train else f"report-{split.name}.html"

    def predictions(self, split: Split) -> str:
        """The file of a split's predictions: the submission, if it has no labels."""
        unlabeled = [other for other in self.others if other.labels is None]
        return SUBMISSION if unlabeled == [split] else f"{PREDICTIONS}/{split.name}.csv"

    def extraction(self, store: Path, log: Log) -> Extraction:
        """The extraction of all splits."""
        return Extraction(
            store,
            self.source,
            self.options.families,
            device=self.options.device,
            threads=self.options.threads,
            copies=self.options.copies,
            cluster=self.options.cluster,
            log=log,
        )

    def plan(self) -> RunPlan:
        """What there is to do. Raises InputError if the folder or the disk cannot hold it."""
        store = self.place / FEATURES
        if self.kept_features is not None and not store.exists():
            store = self.kept_features
        extracting = self.extraction(store, unheard).plan()
        changed = extracting.patches.get(copies_of(self.train.name), 0)
        amount = Amount(
            self.options.families,
            extracting.patches,
            extracting.patches_to_measure,
            len(self.train) + changed,
            self.options.folds + 1,
            sum(map(len, self.others)),
            sum(map(len, self.source.splits.values())),
        )
        free = free_bytes(self.path)
        if extracting.bytes_to_write > free:
            raise InputError(
                f"the disk of {self.path} has {readable(free)} free, and features need up to "
                f"{readable(extracting.bytes_to_write)}; free disk space or give a folder on another "
                "disk."
            )
        seconds = seconds_of(amount, self.options.units * self.options.threads)
        return RunPlan(
            source=self.source.path,
            kind=self.source.kind,
            patches=extracting.patches,
            columns=extracting.columns,
            train=self.train.name,
            predicted=tuple(split.name for split in self.others),
            seconds={stage: seconds[stage] for stage in self.left},
            done=tuple(self.done),
            disk_bytes=extracting.bytes_to_write,
            free_bytes=free,
            memory_bytes=memory_of(
                amount, self.options.folds, self.options.threads, self.options.max_memory
            ),
        )

    def run(self, plan: RunPlan, progress: Progress) -> dict[str, Path]:
        """Do the stages that are left; returns the files by name."""
        settle(self.path, RECORD, KEY)
        self.path.mkdir(parents=True, exist_ok=True)
        with one_process(self.path, f"running in {self.path}"):
            if self.place == self.path:
                check_written(self.path)
                sweep(self.path)
                self.do(plan, progress)
            else:
                self.replace(plan, progress)
        return self.files()

    def replace(self, plan: RunPlan, progress: Progress) -> None:
        """Do the stages in a new folder, which replaces the run at `path` when it is complete."""
        planned = {PLAN_KEY: PLAN_VERSION} | self.settings
        plain = json.loads(json.dumps(planned))  # as it will be read again, without tuples
        with in_the_making(self.path, plain, overwrite=True, what="run", mark=RECORD, key=KEY) as place:
            if self.kept_features is not None and not (place / FEATURES).exists():
                check_written(self.kept_features)
                copy_folder(self.kept_features, place / FEATURES)
            self.do(plan, progress)
        self.log(f"{self.place} is complete and is now {self.path}")
        self.place = self.path

    def do(self, plan: RunPlan, progress: Progress) -> None:
        """Do the stages that are left, each in turn."""
        record = self.known.of_stages(plan.done)
        record.write(self.place)
        with staged(progress, "run", plan.seconds) as stages:
            for number, stage in enumerate(plan.seconds, len(plan.done) + 1):
                self.log(f"stage {number} of {len(STAGES)}: {stage}")
                began, began_processor = time.monotonic(), time.process_time()
                STAGES[stage](self, stages.within(stage))
                stages.finish(stage)
                sums = {
                    file.relative_to(self.place).as_posix(): sum_of(file)
                    for file in self.results(stage)
                }
                record = record.with_stage(
                    stage, time.monotonic() - began, time.process_time() - began_processor, sums
                )
                record.write(self.place)

    def files(self) -> dict[str, Path]:
        """The files and folders of a finished run, by name."""
        named = {
            "check": CHECK_PAGE,
            "features": FEATURES,
            "model": MODEL,
            "card": CARD,
        } | {Path(self.page(split)).stem: self.page(split) for split in self.reported}
        for split in self.others:
            name = self.predictions(split)
            named["submission" if name == SUBMISSION else split.name] = name
        return {name: self.path / file for name, file in named.items()}

    def check(self, progress: Progress) -> None:
        """Check every patch. Raises InputError for faults that stop the run."""
        checked = check_source(
            self.source,
            threads=self.options.threads,
            cluster=self.options.cluster,
            progress=progress,
        )
        checked.report(self.place / CHECK_PAGE)
        self.log(f"{checked.verdict}; see {self.place / CHECK_PAGE}")
        faulty = [problem.says for problem in self.source.problems if problem.serious]
        faulty += [one.says for one in checked.result.findings if one.what == UNREADABLE]
        if faulty:
            raise InputError(faulty[0])
        if self.options.strict and checked.faults:
            raise InputError(
                f"{self.source.path} has {counted(checked.faults, 'fault')}, listed in "
                f"{self.place / CHECK_PAGE}; correct what it lists, or leave out --strict."
            )

    def extract(self, progress: Progress) -> None:
        """Compute the features that are missing."""
        self.extraction(self.place / FEATURES, self.log).run(progress)

    def fit(self, progress: Progress) -> None:
        """Fit the model unless it is there, and write its card."""
        options, folder = self.options, self.place / MODEL
        if folder.exists():  # this run was stopped after it had fitted the model
            model = self.own_model()
        else:
            model = fit(
                self.place / FEATURES,
                folder,
                split=self.train.name,
                families=[family.name for family in options.families],
                folds=options.folds,
                trials=options.trials,
                max_memory=options.max_memory,
                device=options.device,
                threads=options.threads,
                seed=options.seed,
                copies=bool(options.copies),
                cluster=options.cluster,
                progress=progress,
                log=self.log,
            )
        for sentence in model.findings:
            self.log(sentence)
        write_text(self.place / CARD, str(model.card) + "\n")

    def own_model(self) -> Model:
        """The model that is there. Raises InputError if it is not of this run."""
        model = open_model(self.place / MODEL)
        known, options = model.bundle.manifest, self.options
        of_fit = (known.seed, known.trials, known.folds.count, set(known.families))
        wanted = (options.seed, options.trials, options.folds, {one.name for one in options.families})
        if of_fit != wanted or not model.was_fitted_on(self.place / FEATURES, self.train.name):
            raise InputError(
                f"{self.place / MODEL} is not of this run: it was fitted on other patches, or with "
                "other settings; remove it and run the command again."
            )
        return model

    def predict(self, progress: Progress) -> None:
        """Predict all splits but the one that was learned from."""
        store, model = open_store(self.place / FEATURES), self.own_model()
        for split in self.others:
            found = model.predict_split(
                store,
                split.name,
                adapt=self.options.adapt,
                threads=self.options.threads,
                cluster=self.options.cluster,
                progress=progress,
                log=self.log,
            )
            file = self.place / self.predictions(split)
            if file.name != SUBMISSION:
                found.write(file)
                self.log(f"{file}: {counted(len(found.ids), 'prediction')}")
                continue
            rows, left_out = found.submit(file, self.options.sample)
            more = f"; {counted(left_out, 'patch')} not in the sample" if left_out else ""
            self.log(f"{file}: {counted(rows, 'row')}{more}")

    def report(self, progress: Progress) -> None:
        """Write a report on the combined model for each labeled split, out of fold where it learned."""
        model = open_model(self.place / MODEL)
        for split in self.reported:
            own = split is self.train
            result = compare(
                pd.Series(np.asarray(split.labels), index=split.ids),
                {
                    COMBINED: model.out_of_fold[COMBINED]
                    if own
                    else self.place / self.predictions(split)
                },
                features=self.place / FEATURES,
                threads=self.options.threads,
                seed=self.options.seed,
                progress=progress,
            )
            page = result.report(self.place / self.page(split), model=model)
            kind = "out of fold" if own else "predicted"
            self.log(f"{split.name}, {kind}: {result.verdict} See {page}")


Stage = Callable[[Run, Progress], None]
STAGES: dict[str, Stage] = {
    "check": Run.check,
    "extract": Run.extract,
    "fit": Run.fit,
    "predict": Run.predict,
    "report": Run.report,
}
