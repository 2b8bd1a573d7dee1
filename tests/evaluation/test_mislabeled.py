"""mislabeled.py: the clips that are listed, the file, and the lines about it."""

import numpy as np
import pytest

from audio_utils.evaluation import mislabeled
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.runtime.errors import UserError

NAME = 'a/ü "1", 2.wav'
EVALUATION = Evaluation(
    [NAME, "a/2.wav", "a/3.wav", "a/4.wav", "b/1.wav", "b/2.wav"], ["a", "b", "c"], np.array([0, 0, 0, 0, 1, 1]),
    np.array([[0.1, 0.9, 0], [0.3, 0.7, 0], [0.35, 0.6, 0.05], [0.9, 0.1, 0], [0.3, 0.7, 0], [0.4, 0.6, 0]],
             np.float32))


def test_a_clip_is_listed_if_another_class_is_as_probable_as_in_its_own_clips():
    """The mean probability of b is 0.65 in the clips labeled b; 0.6 is a mistake, but less."""
    assert mislabeled.find(EVALUATION).tolist() == [0, 1]
    assert mislabeled.rows(EVALUATION)[0] == [NAME, "a", "b", "0.9000", "0.1000"]


def test_a_class_without_clips_is_no_likely_class():
    other = EVALUATION._replace(probabilities=EVALUATION.probabilities[:, [0, 2, 1]])
    assert mislabeled.find(other._replace(labels=np.zeros(6, int))).tolist() == []


def test_sounds_that_were_moved_or_removed_are_not_listed(tmp_path):
    assert mislabeled.write(tmp_path, EVALUATION) == 2
    head, line = mislabeled.describe(tmp_path, tmp_path, {NAME, "b/2.wav"})
    assert head.startswith("Likely mislabeled: 1 of ")
    assert line == f"    {tmp_path / NAME}: b 90.0%, a 10.0%"
    [head] = mislabeled.describe(tmp_path, tmp_path, set())
    assert head.startswith("Likely mislabeled: 0 of ")


def test_a_file_with_a_byte_order_mark_and_crlf_is_read(tmp_path):
    mislabeled.write(tmp_path, EVALUATION)
    path = tmp_path / mislabeled.FILE
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert [row[0] for row in mislabeled.read(tmp_path)] == [NAME, "a/2.wav"]


@pytest.mark.parametrize("content", [b"", b"x,y\n", b"\xff\n", b"file,label,likely_class,probability,"
                                     b"probability_of_label\na,b\n"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / mislabeled.FILE).write_bytes(content)
    with pytest.raises(UserError, match="is damaged; run train_network.py --folds again"):
        mislabeled.read(tmp_path)


def test_without_folds_the_remedy_is_named(tmp_path):
    [line] = mislabeled.describe(tmp_path, tmp_path, set())
    assert "train_network.py --folds 5 writes" in line


def test_with_several_labels_those_that_are_likely_missing_or_wrong_are_listed_with_the_corrected_ones(tmp_path):
    positives = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [0, 0]], bool)
    found = MultiLabelEvaluation([f"x/{i}.wav" for i in range(6)], ["a", "b"], positives, np.float32(
        [[0.9, 0.1], [0.02, 0.1], [0.9, 0.9], [0.95, 0.9], [0.1, 0.9], [0.1, 0.6]]))
    assert mislabeled.find_labels(found) == [(1, 0), (3, 0)]  # b of the last one is less probable than where it is
    assert mislabeled.write(tmp_path, found) == 2
    assert mislabeled.read(tmp_path) == [["x/1.wav", "a", "(no label)", "98.0%", "2.0%"],
                                         ["x/3.wav", "b", "a;b", "95.0%", "5.0%"]]
    assert mislabeled.find_labels(found._replace(positives=positives & False)) == []
    assert mislabeled.find_labels(found._replace(positives=~positives)) == []  # worse than chance
