"""Figure 7: features of the run's model, nearest neighbours, and errors about missing weights or images."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import yaml

from benchmark.artifacts.restore import restore
from benchmark.common import registry
from benchmark.figures import _style
from benchmark.figures._figure import Drawing, NothingToDrawError, Selection
from benchmark.figures.features import NEIGHBOURS, domain_features, mixing
from benchmark.records import Record, read_all
from benchmark.runs.one_run import train_and_record
from tests.conftest import TINY
from tests.records.made import confusion, record
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> list[Record]:
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"iterations": 4}), encoding="utf-8")
    for method in ("freeze", "lora"):
        train_and_record(job_of(path, tiny_data, folder, method))
    return read_all(folder)


def draw(found: list[Record], data_root: Path | None, *asked: str) -> Drawing:
    with matplotlib.rc_context(_style.RC):
        drawn: Drawing = registry.find("figure", "features").draw(Selection(tuple(found), asked, data_root=data_root))
    return drawn


def test_there_is_a_panel_per_run_with_a_point_per_image(runs: list[Record], tiny_data: Path) -> None:
    drawn = draw(runs, tiny_data, "freeze", "lora", "full")
    assert len(drawn.figure.axes) == 2
    for axes in drawn.figure.axes:
        assert [np.asarray(each.get_offsets()).shape[0] for each in axes.collections] == [2, 2, 3]
    assert list(drawn.left_out) == ["full (no finished run with saved weights)"]


def test_features_are_those_of_the_runs_model(runs: list[Record], tiny_data: Path) -> None:
    (run,) = (each for each in runs if each.method == "lora")
    found = domain_features(run, tiny_data)
    assert {name: len(each) for name, each in found.items()} == {"source": 2, "dusk": 2, "elsewhere": 3}
    seen: list[torch.Tensor] = []
    segmenter = restore(run)
    segmenter.backbone.blocks[max(segmenter.backbone.out_indices)].register_forward_hook(
        lambda _, args, out: seen.append(out)
    )
    from benchmark.artifacts.restore import protocol_of
    from benchmark.data.domains import Domain
    from benchmark.data.loader import EvaluationSet

    domain = Domain.find(protocol_of(run).targets["dusk"], tiny_data)
    segmenter.predict(EvaluationSet(domain.samples, domain.reader)[1]["image"][None])
    tokens = seen[0][0, segmenter.backbone.prefix_tokens :]
    assert found["dusk"][1] == pytest.approx(tokens.mean(0).numpy(), rel=1e-4, abs=1e-5)


def test_neighbours_equal_a_brute_force_search() -> None:
    chance = np.random.default_rng(0)
    features = {name: chance.normal(place, 1, (20 + place, 3)).astype(np.float32) for place, name in enumerate("abc")}
    rows = np.concatenate(list(features.values()))
    names = [name for name, each in features.items() for _ in each]
    same = []
    for place, row in enumerate(rows):
        distances = [(float(np.sum((row - other) ** 2)), at) for at, other in enumerate(rows) if at != place]
        same += [names[at] == names[place] for _, at in sorted(distances)[:NEIGHBOURS]]
    fraction, by_chance = mixing(features)
    assert fraction == pytest.approx(np.mean(same))
    assert by_chance == pytest.approx((20 * 19 + 21 * 20 + 22 * 21) / (63 * 62))
    apart = {name: each + 100 * place for place, (name, each) in enumerate(features.items())}
    assert mixing(apart)[0] == 1.0


def test_a_run_without_weights_or_images_is_not_drawn(runs: list[Record], tmp_path: Path) -> None:
    with pytest.raises(NothingToDrawError, match=r"run of .* weights.*run --methods freeze,full"):
        draw([record(confusion(0.8, 0), "freeze")], None)
    with pytest.raises(NothingToDrawError, match="no folder camvid"):
        draw(runs, tmp_path, "freeze")
