"""The main table: cells, comparability of records, and significance marks."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmark import records, tables
from benchmark.common.errors import UserError
from benchmark.records import Record
from benchmark.tables import Cell, Row, Table
from tests.records.made import FIELDS, TARGETS, confusion, failed, names, record, stored

HEADS = ["Trainable (M)", "Source", "Cityscapes", "BDD100K", "Mapillary", "Avg.", "CPU-s", "n"]


def made(method: str = "lora", seed: int = 0, accuracy: float = 0.8, **changes: Any) -> Record:
    return record(confusion(accuracy, seed), method, seed, **changes)


def one_table(found: list[Record]) -> Table:
    (table,) = tables.build(found)
    return table


def cells(table: Table, row: int = 0) -> dict[str, Cell]:
    return dict(zip([column.head for column in table.columns], table.rows[row].cells, strict=True))


def noted(table: Table) -> str:
    return " ".join(table.notes)


# -- cells ---------------------------------------------------------------------------------------------


def test_a_cell_is_the_mean_over_seeds_with_its_spread() -> None:
    found = [made(seed=seed, accuracy=0.7 + 0.05 * seed) for seed in range(3)]
    table = one_table(found)
    assert [column.head for column in table.columns] == HEADS
    row = cells(table)
    for head, values in {
        "Source": [each.scores()["source"].miou for each in found],
        "BDD100K": [each.targets["bdd100k"].miou for each in found],
        "Avg.": [each.average or 0.0 for each in found],
    }.items():
        assert row[head].mean == pytest.approx(100 * statistics.mean(values), abs=1e-10)
        assert row[head].spread == pytest.approx(100 * statistics.stdev(values), abs=1e-10)
    assert (row["CPU-s"].mean, row["CPU-s"].spread) == pytest.approx((16.25, 1.0))
    assert row["Trainable (M)"].mean == pytest.approx(0.294912)
    assert row["Trainable (M)"].spread is None
    assert row["n"] == Cell(3)


def test_the_decoders_parameters_are_a_range_if_methods_change_them() -> None:
    one, other = made(), made("rein", trainable={"backbone": 1, "decoder": 364_592})
    assert "(0.35 M, " in noted(one_table([one]))
    assert "(0.35 to 0.36 M, " in noted(one_table([one, other]))


def test_parameters_without_gradient_are_noted_and_not_in_the_cell() -> None:
    counts = {"backbone": 102_000, "decoder": 5, "unreached": 245_952}
    rein = [made("rein", seed, trainable=counts) for seed in (0, 1)]
    fewer = made("full", 1, trainable={"backbone": 9, "decoder": 5, "unreached": 384})
    table = one_table([made("lora"), *rein, made("full"), fewer])
    assert cells(table, 2)["Trainable (M)"].mean == pytest.approx(0.102)
    assert "get no gradient with this decoder: Full 0 to 384, Rein 245,952." in noted(table)
    assert "no gradient" not in noted(one_table([made("lora")]))


def test_the_oracle_gap_is_the_best_minus_the_final_evaluation() -> None:
    last = made()
    assert last.average is not None
    assert last.oracle is not None
    best = last.oracle.model_copy(update={"iteration": 250, "average": last.average + 0.02})
    twice = made(oracle=best, evaluations=(best, last.oracle))
    assert cells(one_table([twice]))["Oracle gap"].mean == pytest.approx(2.0)
    once = made("full", oracle=last.oracle, evaluations=(last.oracle,))
    both = one_table([once, twice])
    assert [each["Oracle gap"].mean is None for each in (cells(both, 0), cells(both, 1))] == [True, False]
    assert [column.head for column in both.columns].index("Oracle gap") == HEADS.index("CPU-s")


def test_there_is_no_oracle_gap_if_every_run_was_evaluated_once() -> None:
    table = one_table([made("full"), made("lora")])
    assert "Oracle gap" not in cells(table)
    assert not any("Oracle gap" in note for note in table.notes)


def test_one_seed_has_no_spread() -> None:
    table = one_table([made()])
    assert {cell.spread for cell in table.rows[0].cells} == {None}
    assert "seed 0." in table.caption


def test_the_caption_states_the_conditions() -> None:
    caption = one_table([made(seed=0), made(seed=4)]).caption
    for part in (
        "Protocol streets",
        "backbone vit-tiny-streets",
        "500 iterations",
        "GTA5",
        "(0, 4)",
        "f1f1f1f1f1f1",
    ):
        assert part in caption


def test_several_sources_and_evaluation_on_training_images_are_named() -> None:
    assert "held-out source images" in noted(one_table([made()]))
    source = [{"dataset": "gta5", "split": "all"}, {"dataset": "synthia", "split": "train"}]
    fields = {**FIELDS, "source": source, "validation": {"dataset": "gta5", "split": "all", "limit": 5}}
    table = one_table([made(protocol_fields=fields)])
    assert "on GTA5 + SYNTHIA," in table.caption
    assert "training source images" in noted(table)


def test_the_caption_says_that_streets_are_rendered() -> None:
    assert "rendered" not in one_table([made()]).caption
    targets = {"overcast": {"dataset": "streets", "split": "overcast/val"}, "city": {"dataset": "cityscapes"},
               "fog": {"dataset": "streets", "split": "fog/val"}}  # fmt: skip
    fields = {**FIELDS, "source": {"dataset": "streets-large", "split": "game/train"}, "targets": targets}
    caption = one_table([made(protocol_fields=fields)]).caption
    assert "on rendered streets of 512x256 (game)," in caption
    assert "Unseen domains: rendered streets (overcast, fog)." in caption


def test_rows_are_in_a_fixed_order() -> None:
    wanted = [
        "full", "freeze", "lora", "lora[rank=4]", "vpt", "rein", "rein+perturbed", "bitfit", "random", "childtune-d",
        "fishertune", "another", "mine",
    ]  # fmt: skip
    (table,) = tables.build(
        [made(method) for method in sorted(wanted)], methods=[name.partition("[")[0] for name in wanted]
    )
    assert [row.method for row in table.rows] == wanted
    assert table.rows[3].label == "Lora[rank=4]"


def test_given_hyperparameters_are_added_to_the_label() -> None:
    assert one_table([made("lora[rank=4]", label="LoRA")]).rows[0].label == "LoRA[rank=4]"


def test_a_failed_run_is_noted_and_excluded() -> None:
    table = one_table([made(seed=0), failed(seed=1, error="ce is nan\nat iteration 7."), failed("vpt", label="VPT")])
    lora, vpt = table.rows
    assert lora.cells[-1] == Cell(1)
    assert lora.cells[1].mean == pytest.approx(100 * made(seed=0).scores()["source"].miou)
    assert vpt == Row("vpt", "VPT", (*[Cell()] * 7, Cell(0)))
    assert "Lora, seed 1, failed and is excluded: ce is nan at iteration 7." in noted(table)
    assert "VPT, seed 0, failed" in noted(table)


def test_different_numbers_of_seeds_are_shown() -> None:
    table = one_table([made(seed=0), made(seed=1), made("full", seed=1), made("vpt", seed=1)])
    assert [row.cells[-1].mean for row in table.rows] == [1, 2, 1]
    assert "Seed 1 only: Full, Vpt." in noted(table)
    assert "Lora: seed" not in noted(table)


def test_rows_without_a_learning_rate_search_are_noted() -> None:
    searched, given = made("lora", origins={"lr": "search"}), made("full", origins={"lr": "paper"})
    free = made("freeze", origins={})
    assert "not searched, unlike for the other rows: Full." in noted(one_table([searched, given, free]))
    assert "not searched" not in noted(one_table([searched, free]))
    assert "not searched" not in noted(one_table([given, free]))


def test_a_domain_without_evaluation_is_empty_and_so_is_the_average() -> None:
    short = confusion(0.8, 0, targets=TARGETS[:2])
    table = one_table([record(short), made("full")])
    full, lora = cells(table, 0), cells(table, 1)
    assert lora["Mapillary"] == lora["Avg."] == Cell()
    assert lora["Cityscapes"].mean is not None
    assert None not in [cell.mean for cell in full.values()]


def test_one_table_per_protocol_and_backbone() -> None:
    found = [
        made(protocol="streets@quick", fingerprint="00", protocol_fields={"targets": {}}),
        made(backbone="dinov2-l", weights_hash="other"),
        made(),
    ]
    assert [table.name for table in tables.build(found)] == [
        "streets/dinov2-l", "streets/vit-tiny-streets", "streets@quick/vit-tiny-streets",
    ]  # fmt: skip
    (only,) = tables.build(found, protocol="streets", backbone="dinov2-l")
    assert only.name == "streets/dinov2-l"
    with pytest.raises(UserError, match=r"protocol 'street': .*'streets'"):
        tables.build(found, protocol="street")
    with pytest.raises(UserError, match="backbone 'clip-l'"):
        tables.build(found, backbone="clip-l")
    with pytest.raises(UserError, match="python -m benchmark run"):
        tables.build([])


# -- comparability of records --------------------------------------------------------------------------


def fields(**changes: Any) -> dict[str, Any]:
    return {**FIELDS, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol_fields": fields(iterations=600)}, "protocol field iterations is 500 in one, 600 in the other"),
        (
            {"protocol_fields": fields(decoder={"lr": 0.01, "warmup": 100})},
            r"protocol field decoder\.lr is 0\.003 in one, 0\.01 in the other",
        ),
        ({"protocol_fields": fields(batch=8)}, "protocol field batch is absent in one, 8 in the other"),
        ({"fingerprint": "e2" * 32}, "fingerprint is f1f1f1f1f1f1… in one, e2e2e2e2e2e2… in the other"),
        ({"data_hash": "other"}, "data_hash is dadadadadada… in one, other in the other"),
        ({"weights_hash": "other"}, "weights_hash"),
        ({"classes": ("road", "building", "tree")}, "classes"),
        ({"batches_hash": "other"}, "batches_hash is ba1 in one, other in the other"),
        ({"decoder_hash": "other"}, "decoder_hash is de1 in one, other in the other"),
        (
            {"vfm": {"options": {"drop_path_rate": 0.1}}},
            r"vfm\.options\.drop_path_rate is 0\.2 in one, 0\.1 in the other",
        ),
    ],
)
def test_records_under_different_conditions_are_an_error_that_names_the_field(
    changes: dict[str, Any], message: str
) -> None:
    vfm = {"options": {"drop_path_rate": 0.2}}
    found = [made("full", 0), made("full", 1, vfm=vfm), made("lora", 0), made("lora", 1, **{"vfm": vfm} | changes)]
    with pytest.raises(UserError, match=message) as caught:
        tables.build(found)
    assert "streets/vit-tiny-streets/lora/seed1 cannot share a table: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stored_records_under_different_conditions_are_named_by_file(tmp_path: Path) -> None:
    found = [stored(tmp_path, "full"), stored(tmp_path, "lora", data_hash="other")]
    with pytest.raises(UserError) as caught:
        tables.build(found)
    assert all(str(each.path) in str(caught.value) for each in found)


def test_the_origin_of_equal_weights_may_differ() -> None:
    origins: tuple[dict[str, str], ...] = ({"origin": "file"}, {"origin": "hub"}, {})
    assert len(one_table([made("lora", seed, vfm=vfm) for seed, vfm in enumerate(origins)]).rows) == 1


def test_hashes_missing_from_a_run_that_failed_early_are_not_compared() -> None:
    early = failed("vpt", data_hash="", batches_hash="", decoder_hash="", weights_hash="")
    assert len(one_table([made(), early]).rows) == 2
    with pytest.raises(UserError, match="protocol field iterations"):
        tables.build([made(), failed("vpt", protocol_fields=fields(iterations=9))])


# -- significance marks --------------------------------------------------------------------------------


def suite(root: Path, accuracies: dict[str, float], seeds: int = 3) -> list[Record]:
    return [stored(root, method, seed, accuracy) for method, accuracy in accuracies.items() for seed in range(seeds)]


def bold(table: Table) -> dict[str, list[str]]:
    heads = [column.head for column in table.columns]
    return {row.method: [h for h, cell in zip(heads, row.cells, strict=True) if cell.best] for row in table.rows}


def test_the_best_is_bold_if_significantly_better_than_all_others(tmp_path: Path) -> None:
    table = one_table(suite(tmp_path, {"lora": 0.9, "full": 0.6, "freeze": 0.7}))
    assert bold(table) == {"full": [], "freeze": [], "lora": HEADS[1:6]}
    assert second(table) == {"full": [], "freeze": HEADS[1:6], "lora": []}
    assert "paired bootstrap over images and seeds" in noted(table)


def test_the_second_is_marked_only_if_significantly_better_than_the_rest(tmp_path: Path) -> None:
    found = suite(tmp_path, {"lora": 0.9, "full": 0.6, "freeze": 0.6})
    table = one_table(found)
    assert bold(table)["lora"] == HEADS[1:6]
    assert not any(second(table).values())
    assert not any(second(one_table(found[:6])).values())  # with two rows, the lower one is not marked


def test_an_ablation_with_one_seed_does_not_affect_the_default_table(tmp_path: Path) -> None:
    found = suite(tmp_path, {"lora": 0.9, "full": 0.6})
    found += [stored(tmp_path, "fim", 0, 0.99), stored(tmp_path, "rein+perturbed", 0, 0.99, data_hash="other")]
    table = one_table(found)
    assert bold(table) == {"full": [], "lora": HEADS[1:6]}
    (asked,) = tables.build(found, methods=["fim", "lora"])
    assert [row.method for row in asked.rows] == ["lora", "fim"]
    assert "at least two seeds of every method (Fim: one)" in noted(asked)
    with pytest.raises(UserError, match=r"--methods fim,rein\+perturbed"):
        tables.build(found[-2:])


def test_resamples_are_cached_by_content(tmp_path: Path, own_cache: Path) -> None:
    found = suite(tmp_path, {"lora": 0.9, "full": 0.6}, seeds=2)
    first = one_table(found)
    kept = sorted(path for path in own_cache.rglob("*") if path.is_file())
    assert len(kept) == 4
    kept[0].write_bytes(kept[0].read_bytes()[:-1] + b"x")  # damaged: computed again
    kept[1].unlink()
    before = kept[2].stat().st_mtime_ns
    assert one_table(found) == first
    assert sorted(path for path in own_cache.rglob("*") if path.is_file()) == kept
    assert kept[2].stat().st_mtime_ns == before
    stored(tmp_path, "lora", 0, 0.1)
    again = one_table(records.read_all(tmp_path))
    assert not any(bold(again).values())


def test_an_unwritable_cache_is_no_error(tmp_path: Path, own_cache: Path) -> None:
    (own_cache / "resamples").write_text("in the way", encoding="utf-8")
    assert bold(one_table(suite(tmp_path, {"lora": 0.9, "full": 0.6})))["lora"]


def second(table: Table) -> dict[str, list[str]]:
    heads = [column.head for column in table.columns]
    return {row.method: [h for h, cell in zip(heads, row.cells, strict=True) if cell.second] for row in table.rows}


def test_nothing_is_bold_if_the_best_two_do_not_differ(tmp_path: Path) -> None:
    found = suite(tmp_path, {"full": 0.6})
    for method in ("lora", "vpt"):
        for seed in range(3):
            matrices = confusion(0.9, 100 + seed + 10 * (method == "vpt"))
            path = records.write(record(matrices, method, seed), matrices, names(matrices), tmp_path)
            found.append(records.read(path))
    table = one_table(found)
    assert not any(bold(table).values())
    assert "No bold: " in noted(table)


def test_equal_runs_are_not_significantly_different(tmp_path: Path) -> None:
    assert not any(bold(one_table(suite(tmp_path, {"lora": 0.9, "vpt": 0.9}))).values())


def test_nothing_is_bold_with_one_seed(tmp_path: Path) -> None:
    table = one_table(suite(tmp_path, {"lora": 0.9, "full": 0.6}, seeds=1))
    assert not any(bold(table).values())
    assert "at least two seeds of every method (each has one)" in noted(table)


def test_nothing_is_bold_without_confusions(tmp_path: Path) -> None:
    found = suite(tmp_path, {"lora": 0.9, "full": 0.6})
    assert found[4].path is not None
    found[4].path.with_suffix(".npz").unlink()
    table = one_table(found)
    assert not any(bold(table).values())
    assert "No bold: the per-image confusions of Full, seed 1, are missing." in noted(table)


def test_a_confusion_file_that_does_not_belong_to_its_record_is_an_error(tmp_path: Path) -> None:
    found = suite(tmp_path, {"lora": 0.9, "full": 0.6})
    assert found[0].path is not None
    found[0].path.with_suffix(".npz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"confusion\.sha256 differs"):
        tables.build(found)


def test_runs_evaluated_on_different_images_are_an_error(tmp_path: Path) -> None:
    found = suite(tmp_path, {"full": 0.6}, seeds=2)
    for seed in range(2):
        matrices = confusion(0.9, seed)
        ids = {**names(matrices), "bdd100k": [f"other-{i}" for i in range(12)]}
        found.append(records.read(records.write(record(matrices, "lora", seed), matrices, ids, tmp_path)))
    with pytest.raises(UserError, match="different images of bdd100k"):
        tables.build(found)


def test_a_single_method_is_not_marked(tmp_path: Path) -> None:
    table = one_table(suite(tmp_path, {"lora": 0.9}))
    assert not any(bold(table).values())
    assert "bold" not in noted(table).lower()


def test_rebuilt_tables_are_identical(tmp_path: Path) -> None:
    found = suite(tmp_path, {"lora": 0.8, "full": 0.78, "freeze": 0.79})
    assert tables.build(found) == tables.build(records.read_all(tmp_path)) == tables.build(reversed(found))


def test_an_older_record_whose_estimate_took_iterations_is_refused_beside_a_newer_one() -> None:
    old = made("fishertune", seconds={"estimate": 1.0, "tune": 2.0}, settings={"lr": 1e-4})
    new = made("lora", gradient_evaluations={"tune": 8})
    told = made("fishertune[budget=shared]", seconds={"estimate": 1.0}, settings={"budget": "shared"})
    assert one_table([told, new])
    assert one_table([old, made("lora")])
    with pytest.raises(UserError, match=r"fishertune/seed0 and .*lora/seed0 cannot share a table: budget is shared"):
        tables.build([old, new])


def test_a_fitted_estimate_shows_how_far_it_has_converged() -> None:
    reports = [{"convergence": value, "overlap_of_halves": 2 * value} for value in (0.1, 0.3)]
    found = [made("fishertune", seed, report=report) for seed, report in enumerate(reports)]
    found += [made("lora", seed, report={"convergence": None, "overlap_of_halves": 0.5}) for seed in (0, 1)]
    (note,) = [note for note in one_table(found).notes if "fitted" in note]
    assert note.startswith("Fishertune: 20 % ")
    assert " 40 % " in note
