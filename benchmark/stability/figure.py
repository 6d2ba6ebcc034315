"""The figure: overlap against the number of images and of gradient evaluations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from statistics import fmean
from typing import Any, get_args

from benchmark.stability.record import Criterion, Estimator, Stability
from benchmark.stability.table import NAMES, check, overlaps

WIDTH, HEIGHT = 7.0, 4.2  # inches: the text width of a two-column paper
DPI = 200
LOOKS = {  # Okabe and Ito's colours; markers and line styles differ too, for black-and-white print
    "per-sample": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "per-batch": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    "variational": {"color": "#CC79A7", "marker": "^", "linestyle": "-."},
}
STYLE: Any = {"font.size": 8, "axes.linewidth": 0.6, "lines.linewidth": 1.2, "lines.markersize": 4, "pdf.fonttype": 42}


def draw(records: Sequence[Stability]) -> dict[str, bytes]:
    """Return the figure's files by suffix, ``.pdf`` and ``.png``: equal records give equal bytes.

    One column per criterion; the upper row is against images, the lower against gradient evaluations. Error bars show
    the range over seeds.
    """
    check(records)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, len(NAMES), sharex="row", sharey=True)
        for column, criterion in enumerate(get_args(Criterion)):
            panels[0, column].set_title(NAMES[criterion], fontsize=9)
            for estimator in get_args(Estimator):
                points = records[0].curves[estimator]
                _line(panels[0, column], records, estimator, criterion, [point.images for point in points])
                costs = [point.agreement[criterion].evaluations for point in points]
                _line(panels[1, column], records, estimator, criterion, costs)
        for panel in panels.flat:
            _frame(panel, records[0])
        panels[0, 1].set_xlabel("images per estimate")
        panels[1, 1].set_xlabel("gradient evaluations per estimate")
        figure.supylabel("overlap of selected weights (%)", fontsize=8)
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
        files = {}
        for ending, about in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending[1:], dpi=DPI, metadata=about)
            files[ending] = buffer.getvalue()
    return files


def _line(
    panel: Any, records: Sequence[Stability], estimator: Estimator, criterion: Criterion, along: list[int]
) -> None:
    found = [overlaps(records, estimator, criterion, place) for place in range(len(along))]
    means = [100 * fmean(each) for each in found]
    below = [mean - 100 * min(each) for mean, each in zip(means, found, strict=True)]
    above = [100 * max(each) - mean for mean, each in zip(means, found, strict=True)]
    panel.errorbar(along, means, (below, above), label=estimator, elinewidth=0.6, capsize=1.5, **LOOKS[estimator])


def _frame(panel: Any, record: Stability) -> None:
    panel.axhline(100 * record.chance, color="0.4", linewidth=0.8, linestyle=":", label="chance")
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter("{x:.0f}")
    panel.set_ylim(0, 100)
    panel.grid(axis="y", color="0.9", linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
