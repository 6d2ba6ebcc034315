"""Named RNG streams: equal for equal names, independent of other draws, the same on every machine."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.common import rng


def test_a_stream_depends_on_seed_and_name_alone() -> None:
    assert rng.numpy_rng(0, "order", 1).random() == rng.numpy_rng(0, "order", 1).random()
    drawn = {rng.numpy_rng(seed, name).random() for seed in (0, 1) for name in ("order", "augment", "decoder")}
    assert len(drawn) == 6
    assert rng.derive_seed(1, "2") != rng.derive_seed(12)


def test_streams_do_not_touch_the_global_generators() -> None:
    before, np_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    torch.rand(3, generator=rng.torch_rng(0, "method"))
    rng.numpy_rng(0, "method").random()
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(np_before, np.random.get_state()[1])  # type: ignore[index]


def test_the_first_numbers_are_pinned() -> None:
    assert rng.derive_seed(0, "order", 0) == 3955691223199900983
    assert rng.numpy_rng(0, "order", 0).integers(0, 1000, 4).tolist() == [931, 664, 423, 580]
