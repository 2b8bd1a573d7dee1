"""similarity.py: cosine similarities, and the sounds in their order."""

import numpy as np
import pytest

from audio_utils.inference.similarity import Collection, cosine, most_similar


def test_cosine_similarity_ignores_the_length_and_is_0_for_silence():
    vectors = np.array([[1, 0], [5, 5], [0, 0]], np.float32)
    assert cosine(vectors, vectors) == pytest.approx(
        np.array([[1, np.sqrt(0.5), 0], [np.sqrt(0.5), 1, 0], [0, 0, 0]]), abs=1e-6)


@pytest.mark.parametrize(("left_out", "count", "expected"), [
    ([], 9, ["b_s2", "c", "a"]), ([], 1, ["b_s2"]), (["b"], 1, ["c"]), (["a", "b", "c"], 5, [])])
def test_each_sound_is_listed_once_and_those_left_out_never(left_out, count, expected):
    clips = Collection(["a", "b_s1", "b_s2", "c"], np.array([[1, 1], [1, 0.5], [0, 1], [1, 0.05]], np.float32))
    sound_of = {"a": "a", "b_s1": "b", "b_s2": "b", "c": "c"}
    windows = np.array([[1, 0.1], [0, 2]], np.float32)
    found = list(most_similar(windows, clips, sound_of, left_out, count))
    assert [clip for clip, *_ in found] == expected
    similarities = [similarity for _, similarity, _ in found]
    assert similarities == sorted(similarities, reverse=True)
    assert all(window == (clip == "b_s2") for clip, _, window in found if clip != "a")
