"""NETWORK = "auto": `hybrid` for few clips whose statistics separate the classes well, otherwise `residual`."""

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset
from audio_utils.data.sounds import require_classes
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training.augmentation import FEW_CLIPS_PER_CLASS

AUTO = "auto"
MIN_CLIPS_PER_CLASS = 8  # with fewer, the cross-validation is too uncertain
MIN_ACCURACY = 0.7  # in cross-validation; it was 0.78 to 0.86 for ESC-10, 0.54 for guitar effects, 0.59 for directions


def choose(options: Namespace, dataset: Dataset, clips: Clips, weights: Iterable[Path]) -> None:
    """Replace NETWORK = "auto" in the options by the name of a network.

    A training that continues keeps its network, and one that begins with START_FROM has the network of that file.
    clips: of Train. weights: paths of the weights.hdf5 that training continues from; they need not exist.
    """
    begun = [path for path in weights if path.exists()]
    known = next((path for path in (*begun, options.start_from) if path and Path(path).exists()), None)
    if options.network == AUTO and known:
        options.network = checkpoints.read(known).network
    refused = clips.multi_label and options.network == "hybrid"
    for path in begun if refused or len(clips.class_names) < 2 else ():  # the reason may be another MULTI_LABEL
        checkpoints.read(path).require_labels_of(clips, path)
    require_classes(clips.class_names, "Preproc/Train")
    if refused:
        source = ", as in START_FROM" if options.start_from else ""
        raise UserError(f"NETWORK is 'hybrid'{source}, which needs one class per sound; with MULTI_LABEL, choose "
                        "another.")
    if options.network == AUTO:
        options.network = _chosen(options, dataset, clips)


def _chosen(options: Namespace, dataset: Dataset, clips: Clips) -> str:
    """The name of the network for a new training; says why."""
    require_classes(clips.class_names, "Preproc/Train")
    per_class = len(clips) / len(clips.class_names)
    if clips.multi_label or not MIN_CLIPS_PER_CLASS <= per_class < FEW_CLIPS_PER_CLASS:
        return "residual"
    from audio_utils.inference import distribution  # with Keras, which takes seconds
    from audio_utils.training import regression
    distribution.begin()  # JAX must connect several processes before the first computation
    accuracy = regression.cross_validate(dataset, clips, options.balance)
    good = distribution.everywhere(accuracy >= MIN_ACCURACY)
    name = "hybrid" if good else "residual"
    say(f"NETWORK: {name!r}, because a regression on statistics of the clips has an\naccuracy of {accuracy:.0%} in "
        f"cross-validation ({'at least' if good else 'less than'} {MIN_ACCURACY:.0%}).")
    return name
