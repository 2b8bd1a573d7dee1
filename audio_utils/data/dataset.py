"""The data set of training and evaluation: Preproc/, or Samples/ if nothing is preprocessed."""

import functools
import math
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from audio_utils.audio import melgram
from audio_utils.audio.long_sounds import BEGINNING
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import compute, preproc, split
from audio_utils.data.clips import Clips
from audio_utils.data.plan import make_plan
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import SAMPLES
from audio_utils.data.split import Grouping
from audio_utils.runtime import memory, parallel
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError


class Dataset(NamedTuple):
    """Melgrams that can be loaded, split by split."""
    settings: MelgramSettings
    preprocessing: dict  # settings.json, or what it would hold
    source: Callable[[str, list[str] | None], tuple[Clips, list[str]]]
    grouping: Grouping
    memory_gb: float = math.inf  # melgrams of a split that take more stay on disk
    training: list[str] | None = None  # names of the clips of Train, if nothing is preprocessed

    @property
    def long_files(self) -> str:
        """The constant LONG_FILES of preprocess_data.py."""
        return self.preprocessing.get("constants", {}).get("LONG_FILES", BEGINNING)

    @property
    def multi_label(self) -> bool:
        """The constant MULTI_LABEL of preprocess_data.py."""
        return self.preprocessing.get("constants", {}).get("MULTI_LABEL", False)

    def load(self, split: str, class_names: list[str] | None = None) -> Clips:
        """The Clips of a split ("Val" is empty except in the user's own split); reports unusable files."""
        clips, warnings = self.source(split, class_names)
        for sentence in warnings:
            warn(sentence)
        if split == "Train" and clips.on_disk:
            size_gb = clips.melgrams.nbytes / 1e9
            say(f"Clips are read from {PREPROC}/ ({size_gb:.1f} GB, MEMORY_GB {self.memory_gb:.1f}).")
        return clips


def open_dataset(options: Namespace, settings: MelgramSettings | None = None,
                 weights: str | Path = "weights.hdf5", memory_gb: float | None = math.inf) -> Dataset:
    """The melgrams of Preproc/; if nothing is preprocessed, those of Samples/, computed in memory.

    options: the constants of preprocess_data.py, used in the latter case. settings: those of the network in `weights`;
    the melgrams must have been made with the same. memory_gb: the melgrams of a split that take more stay in Preproc/;
    None: half of the memory that is available.
    """
    if not (PREPROC / "Train").is_dir() and not (PREPROC / "Test").is_dir():
        return _open_samples(options, settings)
    found, preprocessing = preproc.read_settings(PREPROC)
    if not preprocessing.get("complete"):
        raise UserError(f"{PREPROC}/: is not complete; run preprocess_data.py again.")
    require_same(settings or found, found, PREPROC / preproc.SETTINGS, weights)
    if not settings and found.format_version < melgram.FORMAT_VERSION:
        warn(f"{PREPROC}/: contains melgrams of an earlier version; run preprocess_data.py to compute them again.")
    has_labels = preprocessing["constants"].get("MULTI_LABEL", False)
    if memory_gb is None:
        available = memory.available_bytes()
        memory_gb = math.inf if available is None else available / 2e9
    return Dataset(found, preprocessing,
                   lambda split, class_names: preproc.load(PREPROC, split, found, class_names, memory_gb * 1e9,
                                                           has_labels),
                   preproc.grouping(PREPROC, preprocessing["constants"].get("GROUP_BY", ""), has_labels), memory_gb)


def _open_samples(options: Namespace, settings: MelgramSettings | None) -> Dataset:
    split.check_group_by(options.group_by)
    if options.multi_label:
        raise UserError(f"{PREPROC}/: does not exist, and MULTI_LABEL needs it; run preprocess_data.py --multi-label.")
    options.jobs = parallel.on_this_machine(options.jobs)
    plan = make_plan(options, SAMPLES, settings=settings)
    return Dataset(plan.settings, plan.record, functools.partial(compute.compute_in_memory, plan, jobs=options.jobs),
                   plan.grouping, training=plan.names("Train"))


def require_same(wanted: MelgramSettings, found: MelgramSettings, path: Path, weights: str | Path) -> None:
    """Reject settings in `path` that differ from those of the network in `weights`, naming the first difference."""
    if wanted.format_version != found.format_version:
        older, remedy = ("an earlier", "train again (train_network.py --fresh; the old file is kept)") \
            if wanted.format_version < found.format_version else ("a later", "run preprocess_data.py again")
        raise UserError(f"{path}: the network in {weights} was trained on melgrams of {older} version of Panotti; "
                        f"{remedy}.")
    for (name, value), other in zip(wanted.to_dict().items(), found.to_dict().values(), strict=True):
        if value != other:
            raise UserError(f"{path}: has {name} = {other}, the network in {weights} was trained with {value}; "
                            "preprocess with that value and --overwrite, or train again (train_network.py --fresh).")
