"""Exact top-k selection, and AdamW for selected weights only."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.method import sparse
from benchmark.method.sparse import SparseAdamW, top_k

SHAPES = ((33, 17), (40,), (5, 4, 3))


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def masks(fraction: float, seed: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) < fraction for shape in SHAPES]


def train(optimizer: torch.optim.Optimizer, steps: range) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for step in steps:
        for param, grad in zip(params, gradients(step), strict=True):
            param.grad = grad.clone()
        optimizer.step()


def sparse_optimizer(params: list[nn.Parameter], chosen: list[Tensor]) -> SparseAdamW:
    optimizer = SparseAdamW([{"params": params, "lr": 3e-3, "weight_decay": 0.05}])
    for param, mask in zip(params, chosen, strict=True):
        optimizer.select(param, mask)
    return optimizer


def reference_choice(scores: dict[str, Tensor], k: int) -> list[bool]:
    flat = np.concatenate([score.double().numpy().reshape(-1) for score in scores.values()])
    order = np.argsort(-flat, kind="stable")
    chosen = np.zeros(flat.size, dtype=bool)
    chosen[order[:k]] = True
    return chosen.tolist()


def flatten(chosen: dict[str, Tensor]) -> list[bool]:
    return torch.cat([mask.reshape(-1) for mask in chosen.values()]).tolist()


# -- top_k ---------------------------------------------------------------------------------------------


@given(
    values=st.lists(
        st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e-8]),
        min_size=3,
        max_size=40,
    ),
    data=st.data(),
)
def test_top_k_equals_a_stable_sort(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    scores = {"a": torch.tensor(values[:cut]), "b": torch.tensor(values[cut:])}
    k = data.draw(st.integers(0, len(values)))
    assert flatten(top_k(scores, k)) == reference_choice(scores, k)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_top_k_is_exact_across_chunks_and_types(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "CHUNK", 100)
    generator = torch.Generator().manual_seed(0)
    scores = {n: torch.randn(41, 23, generator=generator, dtype=torch.float64).to(dtype) for n in "abc"}
    for k in (1, 7, 500, 2828):
        chosen = top_k(scores, k)
        assert flatten(chosen) == reference_choice(scores, k)
        assert {name: mask.shape for name, mask in chosen.items()} == dict.fromkeys("abc", (41, 23))


def test_top_k_resolves_differences_beyond_float32() -> None:
    scores = {"a": torch.tensor([1.0, 1.0 + 1e-15, 1.0 - 1e-15], dtype=torch.float64)}
    assert top_k(scores, 1)["a"].tolist() == [False, True, False]


def test_top_k_breaks_ties_by_position_over_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "CHUNK", 4)
    scores = {"a": torch.zeros(2, 3), "b": torch.zeros(7)}
    assert flatten(top_k(scores, 9)) == [True] * 9 + [False] * 4


def test_top_k_refuses_invalid_scores() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        top_k({"a": torch.zeros(4)}, 5)
    with pytest.raises(ValueError, match=r"'b' .*NaN"):
        top_k({"a": torch.zeros(4), "b": torch.tensor([1.0, torch.nan])}, 2)
    with pytest.raises(ValueError, match="not floating point"):
        top_k({"a": torch.zeros(4, dtype=torch.int64)}, 2)


# -- SparseAdamW ---------------------------------------------------------------------------------------


def test_with_everything_selected_it_is_adamw() -> None:
    ours, theirs = parameters(), parameters()
    train(sparse_optimizer(ours, masks(2.0)), range(50))
    train(torch.optim.AdamW(theirs, lr=3e-3, weight_decay=0.05), range(50))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_unselected_weights_stay_bit_identical_under_weight_decay() -> None:
    params, before, chosen = parameters(), parameters(), masks(0.3)
    train(sparse_optimizer(params, chosen), range(20))
    for param, old, mask in zip(params, before, chosen, strict=True):
        assert torch.equal(param[~mask], old[~mask])
        assert bool((param[mask] != old[mask]).all())


def test_selected_weights_move_as_under_adamw() -> None:
    params, theirs, chosen = parameters(), parameters(), masks(0.3)
    train(sparse_optimizer(params, chosen), range(20))
    train(torch.optim.AdamW(theirs, lr=3e-3, weight_decay=0.05), range(20))
    for param, dense, mask in zip(params, theirs, chosen, strict=True):
        torch.testing.assert_close(param[mask], dense[mask], rtol=1e-6, atol=1e-6)


def test_growth_keeps_old_state_and_starts_new_weights_from_zero() -> None:
    params, old, late = parameters(), parameters(), parameters()
    early, wide = masks(0.2), masks(0.6)
    optimizer = sparse_optimizer(params, early)
    train(optimizer, range(10))
    moments = [optimizer.state[param]["exp_avg"].clone() for param in params]
    for param, mask, first in zip(params, wide, early, strict=True):
        assert optimizer.select(param, mask) == int((mask & ~first).sum())
        assert torch.equal(optimizer.selected(param), mask | first)
    for param, kept in zip(params, moments, strict=True):
        assert torch.equal(optimizer.state[param]["exp_avg"][: kept.numel()], kept)
    train(optimizer, range(10, 20))
    train(torch.optim.AdamW(old, lr=3e-3, weight_decay=0.05), range(20))
    train(torch.optim.AdamW(late, lr=3e-3, weight_decay=0.05), range(10, 20))
    for param, first, then, a, b in zip(params, early, wide, old, late, strict=True):
        torch.testing.assert_close(param[first], a[first], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(param[then & ~first], b[then & ~first], rtol=1e-6, atol=1e-6)


def test_selecting_again_changes_nothing() -> None:
    params, chosen = parameters(), masks(0.3)
    optimizer = sparse_optimizer(params, chosen)
    train(optimizer, range(3))
    assert [optimizer.select(p, m) for p, m in zip(params, chosen, strict=True)] == [0, 0, 0]
    assert all(optimizer.state[param]["steps"].tolist() == [3] for param in params)


def test_unselected_weights_keep_their_value_and_the_others_continue() -> None:
    params, theirs, wide, narrow = parameters(), parameters(), masks(0.6), masks(0.2)
    optimizer = sparse_optimizer(params, wide)
    train(optimizer, range(10))
    for param, mask in zip(params, masks(0.9, seed=6), strict=True):
        optimizer.select(param, mask)
    stopped = [param.detach().clone() for param in params]
    for param, mask, first in zip(params, narrow, wide, strict=True):
        before = optimizer.selected(param)
        assert optimizer.unselect(param, ~(mask & first)) == int((before & ~(mask & first)).sum())
        assert torch.equal(optimizer.selected(param), mask & first)
        assert int(optimizer.state[param]["lengths"].sum()) == int((mask & first).sum())
    train(optimizer, range(10, 20))
    train(torch.optim.AdamW(theirs, lr=3e-3, weight_decay=0.05), range(20))
    for param, mask, first, old, dense in zip(params, narrow, wide, stopped, theirs, strict=True):
        assert torch.equal(param[~(mask & first)], old[~(mask & first)])
        torch.testing.assert_close(param[mask & first], dense[mask & first], rtol=1e-6, atol=1e-6)


def test_a_resumed_optimizer_continues_bit_identically() -> None:
    straight, resumed = parameters(), parameters()
    first = sparse_optimizer(straight, masks(0.2))
    train(first, range(5))
    for param, mask in zip(straight, masks(0.5), strict=True):
        first.select(param, mask)
    train(first, range(5, 10))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    with torch.no_grad():
        for param, value in zip(resumed, straight, strict=True):
            param.copy_(value)
    train(first, range(10, 20))

    second = SparseAdamW([{"params": resumed, "lr": 1.0, "weight_decay": 0.0}])
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert second.state[resumed[0]]["index"].dtype == torch.int32
    train(second, range(10, 20))
    for a, b in zip(straight, resumed, strict=True):
        assert torch.equal(a, b)


def test_changes_cover_all_written_weights_and_survive_a_load() -> None:
    params, before = parameters(), parameters()
    names = {str(number): param for number, param in enumerate(params)}
    optimizer = SparseAdamW(params, names=names)
    assert optimizer.changes() == {}
    for param, mask in zip(params, masks(0.3), strict=True):
        optimizer.select(param, mask)
    train(optimizer, range(3))
    for param, mask in zip(params, masks(0.7, seed=6), strict=True):
        optimizer.unselect(param, mask)
    train(optimizer, range(3, 6))
    for param, mask in zip(params, masks(0.3), strict=True):
        optimizer.select(param, mask)
        optimizer.unselect(param, mask)
    optimizer.load_state_dict(optimizer.state_dict())
    changes = optimizer.changes()
    for number, (param, old, mask) in enumerate(zip(params, before, masks(0.3), strict=True)):
        index, value = changes[str(number)]
        assert index.dtype == torch.int32
        assert torch.equal(index.long(), mask.flatten().nonzero().flatten())
        rebuilt = old.detach().clone()
        rebuilt.view(-1)[index.long()] = value
        assert torch.equal(rebuilt, param)


def test_indices_beyond_float32_survive_a_load() -> None:
    param = nn.Parameter(torch.zeros(2**24 + 8))
    optimizer = SparseAdamW([param])
    mask = torch.zeros(param.shape, dtype=torch.bool)
    mask[2**24 + 1] = True
    optimizer.select(param, mask)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[param]["index"].tolist() == [2**24 + 1]


def test_state_at_five_percent_is_at_most_eight_percent_of_dense() -> None:
    params = [nn.Parameter(torch.randn(400, 500))], [nn.Parameter(torch.randn(400, 500))]
    sparse_one, dense = SparseAdamW(params[0]), torch.optim.AdamW(params[1])
    sparse_one.select(params[0][0], top_k({"w": torch.rand(400, 500)}, 10_000)["w"])
    sizes = []
    for optimizer, (param,) in zip((sparse_one, dense), params, strict=True):
        param.grad = torch.ones_like(param)
        optimizer.step()
        state = optimizer.state[param].values()
        sizes.append(sum(value.nbytes for value in state if isinstance(value, Tensor)))
    assert sizes[0] <= 0.08 * sizes[1]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_gradient_is_named_and_nothing_is_written(bad: float) -> None:
    params, before = parameters(), parameters()
    names = {f"blocks.{number}.weight": param for number, param in enumerate(params)}
    optimizer = SparseAdamW([{"params": params, "lr": 3e-3}], names=names)
    for param in params:
        optimizer.select(param, torch.ones(param.shape, dtype=torch.bool))
        param.grad = torch.ones_like(param)
    for element in itertools.islice(params, 1, 2):
        assert element.grad is not None
        element.grad[3] = bad
    with pytest.raises(UserError, match=r"blocks\.1\.weight is not finite at its update 1 .*lower lr"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))


def test_a_non_finite_gradient_of_an_unselected_weight_is_ignored() -> None:
    params = parameters()
    optimizer = sparse_optimizer(params, masks(0.3))
    for param, mask in zip(params, masks(0.3), strict=True):
        param.grad = torch.where(mask, 1.0, torch.nan)
    optimizer.step()
    assert all(bool(param.isfinite().all()) for param in params)


def test_select_refuses_invalid_masks_and_parameters() -> None:
    param = nn.Parameter(torch.zeros(3, 4))
    optimizer = SparseAdamW([param])
    with pytest.raises(ValueError, match=r"boolean .*\(3, 4\)"):
        optimizer.select(param, torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="does not belong"):
        optimizer.select(nn.Parameter(torch.zeros(2)), torch.ones(2, dtype=torch.bool))
    strided = nn.Parameter(torch.zeros(4, 3).t())
    with pytest.raises(ValueError, match="not contiguous"):
        SparseAdamW([strided]).select(strided, torch.ones(3, 4, dtype=torch.bool))
