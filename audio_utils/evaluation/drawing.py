"""The style of all plots: color-blind safe, legible with 2 and with 50 classes.

Matplotlib is imported only when something is drawn, and needs no display.
"""

import functools
import io
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from audio_utils.runtime import safe_files, tables

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

Result = TypeVar("Result")

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
DPI = 120
_MAX_LABEL = 24  # columns of a class name
_STYLE = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "lines.linewidth": 1.7,
          "svg.fonttype": "none", "svg.hashsalt": "panotti"}
_FONTS = ("Noto Sans CJK JP", "Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic",
          "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")  # for characters that DejaVu Sans lacks


def styled(draw: Callable[..., Result]) -> Callable[..., Result]:
    """A decorator: the function draws in this style, without changing Matplotlib's global settings."""
    @functools.wraps(draw)
    def in_style(*arguments: Any, **keywords: Any) -> Result:
        import matplotlib
        from matplotlib import font_manager
        installed = set(font_manager.get_font_names())
        fonts = ["DejaVu Sans", *(name for name in _FONTS if name in installed)]
        with matplotlib.rc_context(_STYLE | {"font.family": fonts}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing")  # drawn as a box
            return draw(*arguments, **keywords)
    return in_style


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, size in inches; made without pyplot, which may require a display."""
    from matplotlib.figure import Figure
    figure = Figure((width, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches
    return figure


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure in the format of the path's extension."""
    with safe_files.replacing(path) as unfinished:
        figure.savefig(unfinished)


@styled
def svg(draw_panel: Callable[..., None], *arguments: Any) -> str:
    """The panel of draw_panel(axes, *arguments) as an <svg> element; black becomes the color of the page's text."""
    figure = new_figure(4.6, 3.5)
    draw_panel(figure.subplots(), *arguments)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg"):].replace("#000000", "currentColor")


def short_labels(names: Iterable[str]) -> list[str]:
    """Class names as labels: distinct, not too long, never parsed as formulas, without unprintable characters."""
    names = ["".join(letter if letter.isprintable() else "�" for letter in name) for name in names]
    return [name.replace("$", r"\$") for name in tables.shorten_distinct(names, _MAX_LABEL)]


def short_label(name: str) -> str:
    """The same of one name."""
    return short_labels([name])[0]


def percent_formatter() -> "FuncFormatter":
    """Tick labels in percent."""
    from matplotlib.ticker import FuncFormatter
    return FuncFormatter(lambda fraction, _: f"{100 * fraction:.4g}%")


def set_log_scale(axis: "Axis") -> None:
    """A logarithmic scale with tick labels such as 0.2, not 2 × 10⁻¹."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    steps = (1, 1.5, 2, 3, 4, 5, 7) if high < 10 * low else (1, 2, 5) if high < 3000 * low else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
