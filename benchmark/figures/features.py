"""Figure 7 of the paper: t-SNE of the backbone's features of images from each domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes

from benchmark.common.errors import UserError
from benchmark.figures._figure import Drawing, Figure, NothingToDrawError, Selection, require
from benchmark.figures._style import CYCLE, MARKERS, PAGE, canvas, legend
from benchmark.records import SOURCE, Record

SHOWN = ("freeze", "full", "rein", "fishertune")
"""Methods drawn by default."""
IMAGES = 50  # per domain, the first by name
NEIGHBOURS = 10
Floats = npt.NDArray[np.float32]


def draw(selection: Selection) -> Drawing:
    """Draw a t-SNE map of images for each method's first run with saved weights.

    An image's features are the last block's outputs, averaged over positions. Unlike the other figures, this one needs
    the runs' weights next to the records, and the images.

    Raises:
        NothingToDrawError: no run has saved weights, or images or pre-trained weights are missing.
    """
    runs = _runs(selection)
    require(runs, "a method with saved weights", f"--methods {','.join(selection.asked or SHOWN)}")
    figure = canvas(PAGE, 2.0)
    row = figure.subplots(1, len(runs), squeeze=False)[0]
    for axes, run in zip(row, runs, strict=True):
        try:
            features = domain_features(run, selection.data_root)
        except UserError as error:
            raise NothingToDrawError(str(error)) from None
        fraction, chance = mixing(features)
        _scatter(axes, features)
        axes.set_title(f"{run.label}: {100 * fraction:.0f} %", loc="left")
    legend(figure, row[0])
    wanted = selection.asked or SHOWN
    drawn = {run.method for run in runs}
    return Drawing(
        figure,
        f"t-SNE of held-out source images and images of unseen domains, at most {IMAGES} each; features: mean of the "
        f"last block's outputs. Percentages: fraction of an image's {NEIGHBOURS} nearest neighbours in feature space "
        f"that are from its own domain ({100 * chance:.0f} % by chance). " + selection.conditions(runs, spread=False),
        [f"{name} (no finished run with saved weights)" for name in wanted if name not in drawn],
    )


def _runs(selection: Selection) -> list[Record]:
    """Return, for each method to show, the run with saved weights and the lowest seed."""
    found = []
    for method in selection.asked or SHOWN:
        runs = selection.runs(method)
        kept = [runs[seed] for seed in sorted(runs) if runs[seed].decoder is not None]
        found += kept[:1]
    return found


@torch.no_grad()
def domain_features(run: Record, data_root: Path | None) -> dict[str, Floats]:
    """Return by domain the features (n, D) that a run's model computes for the first images.

    Raises:
        UserError: images or weights are missing.
    """
    from benchmark.artifacts.restore import protocol_of, restore
    from benchmark.data import location
    from benchmark.data.domains import Domain
    from benchmark.data.loader import EvaluationSet

    protocol, segmenter = protocol_of(run), restore(run)
    place = location.place_for(protocol, data_root)
    location.require(protocol, place)
    found = {}
    for name, split in {SOURCE: protocol.validation, **protocol.targets}.items():
        domain = Domain.find(split, place)
        data = EvaluationSet(domain.samples[:IMAGES], domain.reader, test_size=domain.test_size)
        images = [(data[index]["image"][None] - segmenter.mean) / segmenter.std for index in range(len(data))]
        rows = [segmenter.backbone(image)[-1].mean((2, 3)) for image in images]
        found[name] = torch.cat(rows).numpy()
    return found


def mixing(features: dict[str, Floats]) -> tuple[float, float]:
    """Return the fraction of nearest neighbours from the same domain, and its expected value if domains mix."""
    from sklearn.neighbors import NearestNeighbors  # deferred: the import takes a second

    rows, domains = np.concatenate(list(features.values())), _domains(features)
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows) - 1)).fit(rows)
    same = domains[nearest.kneighbors(return_distance=False)] == domains[:, None]
    others = np.array([(np.sum(domains == domain) - 1) / (len(rows) - 1) for domain in domains])
    return float(same.mean()), float(others.mean())


def _domains(features: dict[str, Floats]) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(features)), [len(each) for each in features.values()])


def _scatter(axes: Axes, features: dict[str, Floats]) -> None:
    from sklearn.manifold import TSNE

    rows, domains = np.concatenate(list(features.values())), _domains(features)
    places: Any = TSNE(init="pca", random_state=0, perplexity=min(30, (len(rows) - 1) / 3)).fit_transform(rows)
    for number, name in enumerate(features):
        at = places[domains == number]
        axes.scatter(
            at[:, 0],
            at[:, 1],
            s=4,
            color=CYCLE[number % len(CYCLE)],
            marker=MARKERS[number % len(MARKERS)],
            label=name,
            lw=0,
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", "datalim")
    axes.spines[:].set_visible(False)


FIGURE = Figure("Image features of all domains, t-SNE (FisherTune, Figure 7)", draw)
