"""The registry: names without imports, suggestions for typos, an error for duplicate names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.common import registry
from benchmark.common.errors import UserError

FIRST_NINE = {"full", "freeze", "lora", "vpt", "rein", "bitfit", "childtune-d", "random", "fishertune"}


def test_every_file_is_a_method_under_its_own_name() -> None:
    found = registry.names("method")
    assert set(found) >= FIRST_NINE
    for name, place in found.items():
        assert place.partition(":")[0].rpartition(".")[2].replace("_", "-") == name


def test_the_main_comparison_is_every_method_except_the_ablations() -> None:
    main = registry.main_methods()
    assert set(main) >= FIRST_NINE
    assert not {"fim", "random-q", "ablations"} & set(main)
    assert {"fim", "random-q"} <= set(registry.names("method"))
    assert "ablations" not in registry.names("method")


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'fishertunes': .*'fishertune'"):
        registry.find("method", "fishertunes")
    with pytest.raises(UserError, match=r"'gta': .*'gta5'"):
        registry.find("dataset", "gta")


def test_listing_imports_no_torch() -> None:
    code = "import sys; from benchmark.common import registry as r; r.names('method'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_duplicate_name_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("methods", "baselines"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "twin.py").touch()
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"'twin'.* methods\.twin:METHOD .*baselines\.twin:METHOD"):
        registry.names("method")
