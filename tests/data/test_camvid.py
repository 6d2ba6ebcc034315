"""CamVid in both directions: which drives train and which score, in a short run of each."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark import protocol
from benchmark.records import confusions, read
from benchmark.runs.experiment import Experiment
from benchmark.runs.one_run import train_and_record
from tests.conftest import draw
from tests.training.test_trainer import job_of

DRIVES = {
    "camvid": {"source": "0016E5", "dusk": "0001TP", "elsewhere": "Seq05VD"},
    "camvid@reverse": {"source": "0001TP", "elsewhere": "Seq05VD", "day": "0016E5"},
}
FRAMES = {"train": {"0016E5": 4, "0001TP": 3}, "val": {"0016E5": 2}, "test": {"0001TP": 2, "Seq05VD": 2}}


def drives(ids: list[str]) -> set[str]:
    return {name.rpartition("/")[2].split("_")[0] for name in ids}


@pytest.mark.parametrize("name", DRIVES)
def test_each_direction_trains_on_one_light_and_scores_the_other(name: str, tmp_path: Path) -> None:
    for part, counts in FRAMES.items():
        for sequence, count in counts.items():
            draw(tmp_path / "camvid", part, sequence, count, seed=count)
    fixed = protocol.load(name)
    small = {"iterations": 2, "batch": 2, "evaluation": {"times": 1}, "backbone": "vit-tiny-random"}
    decoder = {"warmup": 1, "channels": 8}
    stated = fixed.model_dump(mode="json", exclude={"name", "settings", "searched"})
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(protocol.merged(stated, {**small, "decoder": decoder})), encoding="utf-8")
    job = job_of(path, tmp_path, tmp_path / "runs", "freeze")
    experiment = Experiment(job)
    trained = {sample.image for sample in experiment.source.samples}
    assert drives([path.name for path in trained]) == {DRIVES[name]["source"]}
    assert not trained & {sample.image for sample in experiment.validation.samples}, "held out"
    train_and_record(job)
    scored = {domain: drives(list(ids)) for domain, ids in confusions(read(job.record))[1].items()}
    assert scored == {domain: {drive} for domain, drive in DRIVES[name].items()}
