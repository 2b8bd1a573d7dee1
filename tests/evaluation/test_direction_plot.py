"""The polar plot has the front on top and the left ear on the left, and its arrows are the errors."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image
from test_directions import NAMES, PAIRS, evaluation_of, scores_of

from audio_utils.evaluation import direction_plot, directions, drawing
from audio_utils.evaluation.directions import Direction, Directions


def at(*angles):
    """Directions without files; angles: (azimuth, elevation) of each."""
    count = len(angles)
    return Directions({str(i): Direction(*each) for i, each in enumerate(angles)}, np.zeros((count, count), int),
                      np.zeros(count, int))


def test_the_front_is_on_top_and_left_is_left():
    points, rings = direction_plot.positions(at((0, 0), (90, 0), (180, 0), (270, 0)))
    assert points == pytest.approx(np.array([[0, 1], [-1, 0], [0, -1], [1, 0]]), abs=1e-9)
    assert rings == {0: 1}


def test_the_distance_from_the_center_is_that_from_the_zenith():
    points, rings = direction_plot.positions(at((0, 0), (0, 45), (0, -30), (0, 90)))
    assert points[:, 1] == pytest.approx([90 / 120, 45 / 120, 1, 0])
    assert list(rings) == [0, 45, -30, 90]
    assert direction_plot.positions(at((0, 30), (90, 30)))[1] == {30: 1}


def test_arrows_are_errors_and_confusions_are_orange():
    axes = Figure().subplots()
    direction_plot.draw(axes, directions.of(evaluation_of(NAMES, PAIRS), ["noise"]))
    arrows = [each for each in axes.patches if isinstance(each, FancyArrowPatch)]
    found = {to_hex(each.get_edgecolor()): each.get_linewidth() for each in arrows}
    assert found == pytest.approx({"#808080": 0.6 + 3 / 4, drawing.COLORS[1].lower(): 0.6 + 3 * 2 / 4})
    assert axes.collections[0].get_facecolor()[:, 3] == pytest.approx([1 / 4, 1, 0])  # opacity: recall


def test_only_the_most_frequent_errors_have_arrows():
    counts = np.ones((20, 20), int)
    counts[3, 5] = 2
    pairs = direction_plot.most_frequent(counts).tolist()
    assert len({tuple(pair) for pair in pairs}) == direction_plot.MAX_ARROWS
    assert pairs[-1] == [3, 5]
    assert all(true != predicted for true, predicted in pairs)
    assert {true for true, _ in pairs} == set(range(20))
    assert direction_plot.most_frequent(np.eye(3, dtype=int)).shape == (0, 2)


def test_the_plot_is_written_and_shown_on_the_page(tmp_path, recwarn):
    evaluation, scores = evaluation_of(NAMES, PAIRS), scores_of(NAMES, PAIRS, ["noise"])
    direction_plot.write_directions(tmp_path / "directions.png", evaluation, scores)
    with Image.open(tmp_path / "directions.png") as image:
        assert len(image.convert("L").getcolors()) > 20
    page = direction_plot.page_content(evaluation, scores)
    assert page["finding"].startswith("Mean angular error 78.0°")
    assert (page["errors"], page["elevations"]) == (2, 1)
    assert all(f">{side}</text>" in page["plot"] for side in ("front", "left", "back", "right"))
    assert "<svg" in page["plot"]
    assert not recwarn.list
