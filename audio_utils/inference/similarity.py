"""The sounds of a collection that are most similar to another, by the cosine similarity of embeddings."""

from collections.abc import Collection as Container
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Collection(NamedTuple):
    """Clips and their embeddings."""
    names: list[str]  # "class/file.wav"
    embeddings: np.ndarray  # float32 (clips, features)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine similarities (n, m) of vectors (n, features) and (m, features); 0 for a vector of zeros."""
    return _normalized(first) @ _normalized(second).T


def _normalized(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def most_similar(windows: np.ndarray, collection: Collection, sound_of: dict[str, str], left_out: Container[str],
                 count: int) -> Iterator[tuple[str, float, int]]:
    """Yield (clip, similarity, index of the window) of the `count` most similar sounds, each with its best clip.

    windows: float32 (windows, features). sound_of: name of a clip → name of its sound. left_out: names of sounds.
    """
    similarities = cosine(windows, collection.embeddings)
    best, seen = similarities.max(axis=0), set(left_out)
    for i in np.argsort(-best, kind="stable"):
        if len(seen) - len(left_out) == count:
            return
        clip = collection.names[i]
        if sound_of[clip] not in seen:
            seen.add(sound_of[clip])
            yield clip, float(best[i]), int(similarities[:, i].argmax())
