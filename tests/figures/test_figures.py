"""Figures show the values in the records: they are read back from the axes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.figures import _style
from benchmark.figures._figure import Drawing, NothingToDrawError, Selection
from benchmark.records import Record
from benchmark.tables.main import ORDER
from tests.records.made import CLASSES, TARGETS, confusion, record

LABELS = {"fishertune": "FisherTune", "freeze": "Freeze", "full": "Full", "lora": "LoRA"}


def made(method: str = "lora", seed: int = 0, accuracy: float = 0.8, **changes: Any) -> Record:
    name, bracket, given = method.partition("[")
    label = LABELS.get(name, name) + bracket + given
    return record(confusion(accuracy, 10 * seed + len(method)), method, seed, **{"label": label, **changes})


def several() -> list[Record]:
    """Three methods with three seeds, and a fourth with one."""
    found = [
        made(method, seed, 0.6 + 0.1 * place + 0.01 * seed, trainable={"backbone": place * 10**5, "decoder": 5})
        for place, method in enumerate(("freeze", "lora", "fishertune"))
        for seed in range(3)
    ]
    return [*found, made("full", 0, 0.9)]


def draw(name: str, found: Sequence[Record], **options: Any) -> Drawing:
    with matplotlib.rc_context(_style.RC):
        drawn: Drawing = registry.find("figure", name).draw(Selection(tuple(found), **options))
    return drawn


def of(found: Sequence[Record], method: str) -> list[Record]:
    return [each for each in found if each.method == method]


def average(runs: Sequence[Record]) -> float:
    return statistics.fmean(100 * (run.average or 0) for run in runs)


def spread(runs: Sequence[Record]) -> float:
    return statistics.stdev(100 * (run.average or 0) for run in runs)


def errorbars(axes: Axes) -> list[tuple[float, float, list[float], list[float]]]:
    """Return x, y, the ends of the horizontal bar and the ends of the vertical bar for each point."""
    found = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            (x,), (y,) = (np.asarray(each, float) for each in container.lines[0].get_data())
            across: list[float] = []
            upwards: list[float] = []
            for bars in container.lines[2]:
                start, end = bars.get_segments()[0]
                upright = bool(start[0] == end[0])
                (upwards if upright else across).extend(float(place[int(upright)]) for place in (start, end))
            found.append((float(x), float(y), across, upwards))
    return found


def shown(axes: Axes) -> npt.NDArray[np.float64]:
    """Return the values of a heat map, row by row from the top; NaN for empty cells."""
    (mesh,) = (each for each in axes.collections if isinstance(each, QuadMesh))
    values: Any = mesh.get_array()
    return np.asarray(np.ma.filled(values, np.nan), np.float64)


# -- every figure ------------------------------------------------------------------------------------------


def test_a_method_has_the_same_mark_in_every_figure() -> None:
    everyone = _style.marks(ORDER)
    assert len(set(everyone.values())) == len(ORDER)
    assert _style.marks(["rein", "fishertune"]) == {name: everyone[name] for name in ("rein", "fishertune")}
    assert {_style.marks(["mine", "rein"])["rein"]} == {everyone["rein"]}


def test_colours_are_those_of_okabe_and_ito() -> None:
    published = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {to_hex(mark.colour).upper() for mark in _style.marks(ORDER).values()} <= published


@pytest.mark.parametrize("name", ["classes", "cost", "domains", "vfms"])
def test_captions_give_the_number_of_seeds(name: str) -> None:
    caption = draw(name, several()).caption
    assert "Protocol streets, backbone vit-tiny-streets, 500 iterations, fingerprint f1f1f1f1f1f1." in caption
    assert "over n = 3 of the seeds 0, 1, 2 (Full: n = 1)." in caption
    assert "n = 1 (seed 0)" in draw(name, [run for run in several() if run.seed == 0]).caption
    assert "over n = 3 seeds (0, 1, 2)." in draw(name, [run for run in several() if run.method != "full"]).caption


@pytest.mark.parametrize("name", ["classes", "cost", "domains", "vfms"])
def test_ablations_and_variants_are_drawn_on_request_only(name: str) -> None:
    found = [*several(), made("lora[rank=4]"), made("fim", label="FIM")]
    drawn = draw(name, found, missing=(("vpt", "vpt seed 0 (failed)"), ("fim", "fim seed 1 (failed)")))
    assert list(drawn.left_out) == [
        "vpt seed 0 (failed)", "lora[rank=4], fim (ablations and variants, only with --methods)",
    ]  # fmt: skip
    assert "lora[rank=4]" not in drawn.caption
    asked = draw(name, found, asked=("lora[rank=4]", "fim"))
    assert not asked.left_out
    assert "n = 1" in asked.caption


@pytest.mark.parametrize("name", sorted(registry.names("figure")))
def test_an_empty_figure_is_an_error_with_the_command_to_run(name: str) -> None:
    with pytest.raises(NothingToDrawError, match=r"run of .+: python -m benchmark run --"):
        draw(name, [made("childtune-d")] if name in ("estimators", "fraction", "sensitivity", "classes") else [])


# -- one by one --------------------------------------------------------------------------------------------


def test_domains_shows_source_and_unseen_means_with_spread() -> None:
    found = several()
    (axes,) = draw("domains", found).figure.axes
    drawn = errorbars(axes)
    for (x, y, across, upwards), method in zip(drawn, ("full", "freeze", "lora", "fishertune"), strict=True):
        runs = of(found, method)
        sources = [100 * run.scores()["source"].miou for run in runs]
        assert (x, y) == pytest.approx((statistics.fmean(sources), average(runs)))
        if method == "full":
            assert across == upwards == []
        else:
            assert across == pytest.approx([x - statistics.stdev(sources), x + statistics.stdev(sources)])
            assert upwards == pytest.approx([y - spread(runs), y + spread(runs)])


def test_the_line_of_equal_drop_passes_through_the_reference() -> None:
    found = several()
    for reference in ("freeze", "lora"):
        drawn = draw("domains", found, reference=reference)
        (line,) = [line for line in drawn.figure.axes[0].lines if line.get_linestyle() == "--"]
        _, y = line.get_xy1()  # type: ignore[attr-defined]
        assert y == pytest.approx(average(of(found, reference)))
        assert line.get_slope() == 1  # type: ignore[attr-defined]
        assert f"drop from source to unseen domains as {LABELS[reference]};" in drawn.caption
    assert "Dashed" not in draw("domains", found, reference="vpt").caption


def test_costs_are_parameters_cpu_time_and_memory() -> None:
    found = several()
    panels = draw("cost", found).figure.axes
    for axes, cost in zip(
        panels,
        (
            lambda run: run.trainable.backbone / 1e6,
            lambda run: run.cpu_seconds,
            lambda run: run.peak_memory_bytes / 1e9,
        ),
        strict=True,
    ):
        wanted = [
            (statistics.fmean(map(cost, of(found, method))), average(of(found, method)))
            for method in ("full", "freeze", "lora", "fishertune")
        ]
        assert [each[:2] for each in errorbars(axes)] == [pytest.approx(pair) for pair in wanted]
    left, right = panels[0].get_xlim()
    assert left < 0 < 0.2 < right, "zero trainable parameters must be within the axis"


def test_a_perturbed_method_is_not_in_the_main_comparison() -> None:
    found = [*several(), made("lora+perturbed", 0, 0.7)]
    assert "lora+perturbed" not in Selection(tuple(found)).methods()
    assert any("lora+perturbed" in line for line in Selection(tuple(found)).passed_over())
    assert Selection(tuple(found), asked=("lora+perturbed",)).methods() == ["lora+perturbed"]


def test_a_method_far_below_the_others_is_drawn_on_the_lower_edge() -> None:
    methods = ("full", "freeze", "lora", "fishertune")
    near = [made(method, seed, 0.8 + 0.005 * seed) for method in methods for seed in range(3)]
    low = [made("vqt", seed, 0.3) for seed in range(3)]
    assert "Below the axis" not in draw("cost", near).caption
    drawn = draw("cost", near + low)
    assert "Below the axis, at the value next to the arrow: vqt." in drawn.caption
    others = [average(of(near, method)) for method in methods]
    for axes in drawn.figure.axes:
        bottom, top = axes.get_ylim()
        assert average(low) < bottom < min(others) <= max(others) < top
        assert [text.get_text() for text in axes.texts] == [f"↓ {average(low):.1f}"]


def test_bars_by_foundation_model_and_their_mean() -> None:
    found = several()
    others = [
        made(run.method, run.seed, 0.85, backbone="eva02-l", weights_hash="ee", decoder_hash="ff")
        for run in found
        if run.method != "lora" and run.seed < 2
    ]
    drawn = draw("vfms", [*found, *others])
    panels = {axes.get_title(): axes for axes in drawn.figure.axes}
    assert list(panels) == ["eva02-l", "vit-tiny-streets", "Mean"]
    widths = {
        title: [bar.get_width() for each in axes.containers if isinstance(each, BarContainer) for bar in each]
        for title, axes in panels.items()
    }
    assert widths["vit-tiny-streets"] == pytest.approx(
        [average(of(found, method)) for method in ("full", "freeze", "lora", "fishertune")]
    )
    assert widths["eva02-l"] == pytest.approx(
        [average(of(others, method)) for method in ("full", "freeze", "fishertune")]
    )
    common = [run for run in found if run.seed < 2]
    assert widths["Mean"] == pytest.approx(
        [(average(of(common, method)) + average(of(others, method))) / 2 for method in ("full", "freeze", "fishertune")]
    )
    assert list(drawn.left_out) == ["lora on eva02-l", "lora on Mean"]
    assert all(axes.get_xlim()[0] == 0 for axes in panels.values()), "bars must start at zero"


def test_differences_by_class_are_paired_by_seed_and_averaged_over_domains() -> None:
    found = [run for run in several() if run.method in ("freeze", "lora")][:5]  # lora has two seeds, freeze three
    drawn = draw("classes", found)
    axes = drawn.figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(CLASSES)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["LoRA"]
    wanted = [
        [
            100
            * statistics.fmean(
                (lora.targets[domain].iou[place] or 0) - (freeze.targets[domain].iou[place] or 0)
                for lora, freeze in zip(of(found, "lora"), of(found, "freeze"), strict=False)
                for domain in TARGETS
            )
        ]
        for place in range(len(CLASSES))
    ]
    assert shown(axes) == pytest.approx(np.array(wanted))
    assert [text.get_text() for text in axes.texts] == [f"{value:+.1f}" for (value,) in wanted]
    assert {text.get_fontweight() for text in axes.texts} == {"bold"}
    swapped = draw("classes", found, reference="lora").figure.axes[0]
    assert shown(swapped) == pytest.approx(-np.array(wanted))


def test_an_absent_class_is_empty() -> None:
    matrices = confusion(0.8, 1)
    for each in matrices.values():
        each[:, 2, :] = each[:, :, 2] = 0
    drawn = draw("classes", [record(matrices, "freeze"), record(matrices, "lora")])
    assert len(drawn.figure.axes[0].texts) == 2
    assert np.isnan(shown(drawn.figure.axes[0])).tolist() == [[False], [False], [True]]


def test_estimators_are_grouped_by_criterion() -> None:
    names = ("fim", "fim-variational", "delta-fim", "fishertune-per-sample")
    found = [*(made(name, seed, 0.6 + 0.02 * seed) for name in names for seed in (0, 1)), made("freeze")]
    drawn = draw("estimators", found)
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["FIM", "ΔFIM", "DR-FIM"]
    got: dict[int, list[float]] = {round(x): [] for x, *_ in errorbars(axes)}
    for x, y, _, upwards in errorbars(axes):
        got[round(x)].append(y)
        assert len(upwards) == 2
    wanted = {0: names[:2], 1: names[2:3], 2: names[3:]}
    assert got == {place: [pytest.approx(average(of(found, name))) for name in each] for place, each in wanted.items()}
    dots = [line.get_ydata() for line in axes.lines if line.get_marker() == "."]
    assert dots[0] == pytest.approx([100 * (run.average or 0) for run in of(found, "fim")])
    (level,) = (line.get_ydata() for line in axes.lines if line.get_linestyle() == "--")
    assert level == pytest.approx([average(of(found, "freeze"))] * 2)
    assert list(drawn.left_out) == ["delta-fim-variational (no finished run)", "fishertune (no finished run)"]


def test_estimators_are_drawn_over_common_seeds() -> None:
    found = [made(name, seed, 0.6 + 0.1 * seed) for name in ("fim", "fishertune") for seed in (0, 1)]
    lonely = [made("fishertune", 2, 0.1), made("freeze", 0, 0.5), made("freeze", 3, 0.1)]
    drawn = draw("estimators", [*found, *lonely])
    (axes,) = drawn.figure.axes
    assert [y for _, y, *_ in errorbars(axes)] == pytest.approx([average(found[:2]), average(found[2:])])
    (level,) = (line.get_ydata() for line in axes.lines if line.get_linestyle() == "--")
    assert level == pytest.approx([average(lonely[1:2])] * 2)
    assert "n = 2 of the seeds 0, 1 (Freeze: n = 1)" in drawn.caption


def test_estimators_without_common_seeds_are_drawn_over_their_own() -> None:
    drawn = draw("estimators", [made("fim", 0), made("fim", 1), made("fishertune", 2), made("fishertune", 3)])
    assert len(errorbars(drawn.figure.axes[0])) == 2


def test_a_sweep_of_fractions_is_a_line_per_method() -> None:
    shares = {"fishertune[share=0.005,share_start=0.005]": 0.005, "fishertune": 0.05, "fishertune[share=0.2]": 0.2}
    found = [
        made(name, seed, 0.7 + share, settings={"share": share}) for name, share in shares.items() for seed in (0, 1)
    ]
    others = [
        made("random", settings={"share": 0.05}),  # a single fraction
        made("fishertune[lr=0.1,share=0.4]", settings={"share": 0.4}),  # differs in another hyperparameter too
        made("fishertune[share=0.05,share_start=0.05]", settings={"share": 0.05}),
        made("freeze", settings={}),
    ]
    drawn = draw("fraction", [*found, *others])
    (axes,) = drawn.figure.axes
    assert axes.get_xscale() == "log"
    wanted = [(100 * share, average(of(found, name))) for name, share in shares.items()]
    assert sorted(each[:2] for each in errorbars(axes)) == [pytest.approx(pair) for pair in wanted]
    assert list(drawn.left_out) == ["fishertune[share=0.05,share_start=0.05] (same fraction as another variant)"]
    assert axes.get_legend_handles_labels()[1] == ["Freeze", "FisherTune"]


def report(seed: int) -> dict[str, Any]:
    rows = {group: [(1 + place) * 10.0 ** -(block + seed) for block in range(3)] for place, group in enumerate("qkv")}
    rows["ffn"] = [7.0, 8.0, 9.0]
    chosen = {group: [place, 1, 2] for place, group in enumerate(("q", "k", "v", "ffn"))}
    return {"sensitivity": {"fisher": rows, "fisher_shifted": rows, "drf": rows}, "chosen": chosen}


def test_sensitivity_is_the_mean_over_seeds_by_layer_and_block() -> None:
    found = [made("fishertune-per-sample", seed, report=report(seed)) for seed in (0, 1)]
    found += [made("fishertune", seed, report=report(seed)) for seed in (0, 1)]
    drawn = draw("sensitivity", found)
    maps = {axes.get_title("left"): shown(axes) for axes in drawn.figure.axes if axes.get_title("left")}
    assert list(maps) == [
        "FIM, per sample: mean of F (log scale)",
        "DR-FIM, per sample: mean score",
        "DR-FIM, variational: mean score",
        "Selected by FisherTune: fraction in % (log scale)",
    ]
    rows = [np.array(list(report(seed)["sensitivity"]["drf"].values())) for seed in (0, 1)]
    assert maps["DR-FIM, variational: mean score"] == pytest.approx((rows[0] + rows[1]) / 2)
    assert maps["FIM, per sample: mean of F (log scale)"] == pytest.approx((rows[0] + rows[1]) / 2)
    chosen = np.array([[place, 1, 2] for place in range(4)])
    assert maps["Selected by FisherTune: fraction in % (log scale)"] == pytest.approx(100 * chosen / chosen.sum())
    assert list(draw("sensitivity", found[:2]).left_out) == ["fishertune (no finished run)"]


def test_a_record_without_the_report_is_named() -> None:
    with pytest.raises(UserError, match=r"fishertune/seed0: report: no drf by block.*--force"):
        draw("sensitivity", [made("fishertune", report={})])
