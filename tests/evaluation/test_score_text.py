"""score_text.py: tables of 80 columns, and a line for each mistake."""

import numpy as np

from audio_utils.evaluation import score_text
from audio_utils.evaluation.metrics import Evaluation


def test_the_table_of_classes_has_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    at = {"threshold": 0.5, "precision": 1, "recall": 1, "f1": 1}
    each = {"files": 12345, "mistakes": 1234, "auc": 0.99999, "precision": 1, "recall": 1, "f1": 1,
            "thresholds": {"max_f1": at, "precision_90": None, "uncertain": True}}
    classes = {f"{'a long name of a class ' * 4}{i}": each for i in (10, 9)}
    classes["c"] = dict.fromkeys(each) | {"files": 0, "mistakes": 0,
                                          "thresholds": {"max_f1": at | {"recall": None, "threshold": 0.01},
                                                         "precision_90": at, "uncertain": False}}
    scores = {"classes": classes, "loss": 12.34567, "accuracy": 1, "accuracy_interval": (1, 1), "files": 9999,
              "thresholds": {
        "source": "cross-validation with 5 folds", "clips": 12345,
        "classes": {name: {"positives": 3} for name in classes}}} | dict.fromkeys(
            ("macro_auc", "macro_precision", "macro_recall", "macro_f1"), 0.99999)
    score_text.say_scores(scores)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 79
    assert [line.split()[0] for line in lines[1:6]] == ["class", "a", "a", "c", "total,"]
    assert [line.split()[-1] for line in lines[1:6]] == ["AUC", "0.9999", "0.9999", "-", "0.9999"]
    assert "9 " in lines[2]
    assert lines[7] == "Thresholds from cross-validation with 5 folds (12,345 clips), applied here:"
    assert [line.split()[-6:-3] for line in lines[11:13]] == [["0.5000?", "100.0%", "100.0%"]] * 2
    assert lines[13].split() == ["c", "0.0100*", "100.0%", "-", "0.5000", "100.0%", "100.0%"]
    assert lines[14:16] == ["? uncertain, chosen from fewer than 10 clips of the class",
                            "* rejects nothing: the most probable of 3 classes always reaches it"]
    score_text.say_scores(scores | {"macro_auc": None})
    assert "on 9999 files.\nNo macro AUC: it requires files of two classes.\n" in capsys.readouterr().out


def test_mistakes_are_sorted_by_name(capsys):
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1], [0.6, 0.4]], np.float32)
    score_text.say_mistakes(Evaluation(["b.wav", "c.wav", "a.wav"], ["x", "y"], np.array([0, 0, 1]), probabilities))
    assert capsys.readouterr().out.splitlines() == ["a.wav: should be y but came out as x",
                                                    "b.wav: should be x but came out as y"]
