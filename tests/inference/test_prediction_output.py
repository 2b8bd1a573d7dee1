"""prediction_output.py: lines that fit the terminal, and label tracks without repetitions."""

import numpy as np
import pytest

from audio_utils.inference import prediction_output
from audio_utils.inference.windows import Segment


@pytest.mark.parametrize(("file", "status"), [("a.wav", ""), ("new/" * 12 + "a.wav", ""), ("a.wav", "very quiet")])
def test_on_a_terminal_lines_fit_and_elsewhere_class_names_are_complete(capsys, monkeypatch, file, status):
    names = [f"Tube_Screamer_with_high_gain_{i}" for i in range(4)]
    segments = [Segment(3600.0 * i, 3600.0 * i + 1, names[0], np.array([0.9, 0.05, 0.03, 0.02]), status)
                for i in range(2)]
    for terminal in (True, False):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(prediction_output, "is_terminal", lambda _, terminal=terminal: terminal)
        prediction_output.print_text(names, 3, file, segments[:1])
        prediction_output.print_text(names, 3, file, segments)
        out = capsys.readouterr().out
        assert (max(map(len, out.splitlines())) <= 79) is terminal
        assert (names[1] in out) is not terminal
        assert out.startswith(f"{file}:")
        assert "Tube" in out.splitlines()[-1]


def test_neighbors_with_one_status_are_one_label(tmp_path):
    segments = [Segment(start, start + 1, name, np.ones(1), status) for start, name, status in (
        (0, "a", ""), (1, "a", "very quiet"), (2, "b", "very quiet"), (3, "b", ""))]
    prediction_output.write_labels(tmp_path / "x.txt", segments)
    assert (tmp_path / "x.txt").read_text() == ("0.000000\t1.000000\ta\n1.000000\t3.000000\tvery quiet\n"
                                                "3.000000\t4.000000\tb\n")
