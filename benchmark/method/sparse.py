"""Select and train individual weights.

:func:`top_k` selects exactly k weights by score. :class:`SparseAdamW` is AdamW with state and updates for the selected
weights only, so that every other weight stays bit-identical to the pre-trained one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.common.errors import UserError

CHUNK = 1 << 22  # values processed at once; bounds the working memory
DIGIT = 16  # bits ranked per pass
MOST_STEPS = 1 << 53  # largest step count that float64 represents exactly; learning rates are computed in it
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def top_k(scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    """Select the k largest scores over all tensors.

    Ties are broken by position: first in the order of ``scores``, then by index. The k-th largest value is found by
    radix selection (counting leading bits in passes over the scores), which neither sorts nor copies them: only the
    masks (one byte per value) use memory proportional to the number of scores.

    Args:
        scores: name to floating-point tensor of any shape; may contain infinities but not NaN.
        k: how many to select, from 0 to the number of scores.

    Returns:
        name to boolean mask of the same shape, on the same device, in the order of ``scores``.

    Raises:
        ValueError: k is out of range, or a score is NaN or not floating point.
    """
    return dict(top_k_masks(scores, k))


def top_k_masks(scores: Mapping[str, Tensor], k: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the items of :func:`top_k` one by one, which saves the memory of all masks together."""
    total = sum(score.numel() for score in scores.values())
    if not 0 <= k <= total:
        raise ValueError(f"cannot select {k} of {total} scores")
    for name, score in scores.items():
        if not score.is_floating_point():
            raise ValueError(f"scores of {name!r} are {score.dtype}, not floating point")
        if any(bool(part.isnan().any()) for part in _chunks(score)):
            raise ValueError(f"scores of {name!r} contain NaN")
    if k in (0, total):
        yield from ((name, torch.full_like(score, k > 0, dtype=torch.bool)) for name, score in scores.items())
        return
    wide = torch.float64 if any(s.dtype == torch.float64 for s in scores.values()) else torch.float32
    threshold, ties = _kth_largest(scores, k, wide)
    for name, score in scores.items():
        mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
        for part, chosen in zip(_chunks(score), mask.split(CHUNK), strict=True):
            keys = _keys(part, wide)
            torch.gt(keys, threshold, out=chosen)
            if ties > 0:
                equal = (keys == threshold).nonzero().flatten()[:ties]
                chosen[equal] = True
                ties -= equal.numel()
        yield name, mask.view(score.shape)


def _chunks(score: Tensor) -> Iterator[Tensor]:
    yield from score.detach().reshape(-1).split(CHUNK)


def _keys(values: Tensor, wide: torch.dtype) -> Tensor:
    """Return integers with the same order as ``values`` (IEEE 754: flip the lower bits of negative numbers)."""
    bits = (values.to(wide) + 0.0).view(INTEGERS[wide])  # + 0.0 turns -0.0 into 0.0
    return bits ^ ((bits >> (torch.iinfo(bits.dtype).bits - 1)) & torch.iinfo(bits.dtype).max)


def _kth_largest(scores: Mapping[str, Tensor], k: int, wide: torch.dtype) -> tuple[int, int]:
    """Return the k-th largest key and how many of the values equal to it are among the k largest."""
    bits, bins = torch.iinfo(INTEGERS[wide]).bits, 1 << DIGIT
    prefix = 0
    for shift in range(bits - DIGIT, -1, -DIGIT):
        first = shift == bits - DIGIT
        offset = bins // 2 if first else 0  # the leading digit is signed
        counts = torch.zeros(bins, dtype=torch.int64)
        for score in scores.values():
            for part in _chunks(score):
                keys = _keys(part, wide)
                if not first:
                    keys = keys[(keys >> (shift + DIGIT)) == prefix]
                digit = (keys >> shift) + offset if first else (keys >> shift) & (bins - 1)
                counts += torch.bincount(digit, minlength=bins).cpu()
        above = counts.flip(0).cumsum(0)
        place = int(torch.searchsorted(above, k))  # first digit, from the largest, at which the count reaches k
        k -= int(above[place - 1]) if place else 0
        prefix = (prefix << DIGIT) + (bins - 1 - place) - offset
    return prefix, k


class SparseAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter, ICLR 2019) for selected weights only.

    Initially nothing is selected. :meth:`select` adds weights at any time. Weights selected earlier keep their moments
    and step count; new ones start with zero moments and their own step count, so their bias correction is that of a
    new AdamW. Weights that are not selected are never written: no update, no weight decay.

    State per parameter: ``index`` (int32 positions, in order of selection), ``exp_avg`` and ``exp_avg_sq`` (one value
    per position), ``lengths`` and ``steps`` (one value per cohort of weights selected together), and ``left``
    (positions that trained earlier and no longer do) if there are any. With 5 % of the weights selected, the state
    takes 7.5 % of the memory of dense AdamW's. With all weights selected, the updates are those of
    ``torch.optim.AdamW``.

    Args:
        params: contiguous parameters, or parameter groups.
        lr, betas, eps, weight_decay: as in ``torch.optim.AdamW``; groups may override them.
        names: the parameters by name, for error messages and :meth:`changes`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        names: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._names = {param: name for name, param in (names or {}).items()}

    @torch.no_grad()
    def select(self, param: Tensor, mask: Tensor) -> int:
        """Select the True positions of ``mask`` for training; return how many are new.

        Args:
            param: a parameter of this optimizer.
            mask: boolean, of the parameter's shape; False does not unselect.

        Raises:
            ValueError: the parameter is not in this optimizer or not contiguous, or the mask has the wrong shape or
            dtype.
        """
        name = self._name(param)
        if not any(param is known for group in self.param_groups for known in group["params"]):
            raise ValueError(f"{name} does not belong to this optimizer")
        if not param.is_contiguous():
            raise ValueError(f"{name} is not contiguous in memory")
        if mask.shape != param.shape or mask.dtype != torch.bool:
            raise ValueError(f"the mask of {name} must be boolean with shape {tuple(param.shape)}")
        flat = mask.to(param.device).reshape(-1)
        state = self.state[param]
        if state:
            flat = flat.clone()
            flat[state["index"]] = False
        new = flat.nonzero().flatten()
        if new.numel():
            _append(state, new.to(_positions(param)), param)
        return int(new.numel())

    @torch.no_grad()
    def unselect(self, param: Tensor, mask: Tensor) -> int:
        """Stop training the True positions of ``mask``; return how many of them were selected.

        Their values stay and their moments are dropped; if selected again, they start from zero moments.
        """
        state = self.state.get(param)
        if not state:
            return 0
        keep = ~mask.to(param.device).reshape(-1)[state["index"]]
        left = state["index"][~keep]
        state["left"] = torch.cat([state["left"], left]).unique() if "left" in state else left
        cohorts = torch.arange(len(state["lengths"])).repeat_interleave(state["lengths"])
        before = len(state["index"])
        state["lengths"] = torch.bincount(cohorts[keep.cpu()], minlength=len(state["lengths"]))
        for key in ("index", "exp_avg", "exp_avg_sq"):
            state[key] = state[key][keep]
        return before - len(state["index"])

    def selected(self, param: Tensor) -> Tensor:
        """Return the selected weights of ``param`` as a boolean mask of its shape."""
        mask = torch.zeros(param.numel(), dtype=torch.bool, device=param.device)
        if self.state.get(param):
            mask[self.state[param]["index"]] = True
        return mask.view(param.shape)

    def changes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return every weight of the named parameters that is or was selected.

        Returns:
            name to flat positions (ascending, int32 if they fit) and a copy of the current values.
        """
        found = {}
        for param, name in self._names.items():
            state = self.state.get(param)
            if state:
                index = torch.cat([state[key] for key in ("index", "left") if key in state]).unique()
                found[name] = index, param.detach().reshape(-1).index_select(0, index)
        return found

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the selected weights from their gradients.

        Raises:
            UserError: the gradient of a selected weight is NaN or infinite; no weight has been changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pending = []
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and self.state.get(param):
                    grad = param.grad.reshape(-1).index_select(0, self.state[param]["index"])
                    pending.append((group, param, grad))
        self._refuse_not_finite(pending)
        for group, param, grad in pending:
            _update(param, grad, self.state[param], group)
        return loss

    def _refuse_not_finite(self, pending: list[tuple[dict[str, Any], Tensor, Tensor]]) -> None:
        # GradScaler skips steps with overflow itself, so non-finite gradients that arrive here are divergence.
        if torch.nn.utils.get_total_norm([grad for _, _, grad in pending], math.inf).isfinite():
            return
        group, param, _ = next(entry for entry in pending if not entry[2].isfinite().all())
        step = int(self.state[param]["steps"].max()) + 1
        raise UserError(
            f"the gradient of {self._name(param)} is not finite at its update {step} "
            f"(learning rate {group['lr']:.3g}): training diverged; lower lr or disable mixed precision"
        )

    def _name(self, param: Tensor) -> str:
        return self._names.get(param) or f"a parameter of shape {tuple(param.shape)}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a :meth:`state_dict`; the base class would cast indices to floating point.

        Raises:
            KeyError, TypeError, ValueError: it does not fit these parameters; nothing has been loaded then.
        """
        params = [param for group in self.param_groups for param in group["params"]]
        order = [number for group in state_dict["param_groups"] for number in group["params"]]
        found = [(param, state_dict["state"].get(number)) for number, param in zip(order, params, strict=True)]
        for param, saved in found:
            if saved:
                _check(saved, param)
        super().load_state_dict(state_dict)
        for param, saved in found:
            if saved:
                for key in ("index", "left"):
                    if key in saved:
                        self.state[param][key] = saved[key].to(param.device, copy=True)
                for key in ("lengths", "steps"):
                    self.state[param][key] = saved[key].to("cpu", copy=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._names = getattr(self, "_names", {})


def _positions(param: Tensor) -> torch.dtype:
    """Return the smallest integer dtype that can index the parameter."""
    return torch.int32 if param.numel() < 2**31 else torch.int64


def _check(saved: dict[str, Any], param: Tensor) -> None:
    """Check that a saved state fits the parameter.

    Raises:
        KeyError, TypeError, ValueError: it does not.
    """
    for key in saved.keys() & {"left"} | {"index"}:
        _check_positions(key, saved[key], param)
    count, cohorts = len(saved["index"]), saved["lengths"].numel()
    wanted = {key: (count, param.dtype) for key in ("exp_avg", "exp_avg_sq")}
    wanted |= {key: (cohorts, torch.int64) for key in ("lengths", "steps")}
    for key, (length, dtype) in wanted.items():
        if saved[key].shape != (length,) or saved[key].dtype != dtype:
            raise ValueError(f"{key} does not have {length} values of {dtype}")
    for key, most in (("lengths", count), ("steps", MOST_STEPS)):
        if bool(((saved[key] < 0) | (saved[key] > most)).any()):
            raise ValueError(f"{key} are not between 0 and {most}")
    if int(saved["lengths"].sum()) != count:
        raise ValueError("lengths do not add up to the number of selected weights")


def _check_positions(key: str, positions: Tensor, param: Tensor) -> None:
    if positions.ndim != 1 or positions.dtype != _positions(param):
        raise ValueError(f"{key} is not a 1-D tensor of {_positions(param)}")
    if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < param.numel():
        raise ValueError(f"{key} has positions outside the parameter")
    mask = torch.zeros(param.numel(), dtype=torch.bool, device=positions.device)
    mask[positions] = True
    if int(mask.sum()) != len(positions):
        raise ValueError(f"{key} has a position twice")


def _append(state: dict[str, Any], new: Tensor, param: Tensor) -> None:
    """Add the positions ``new`` as a cohort with zero moments."""
    zeros = torch.zeros(new.numel(), dtype=param.dtype, device=param.device)
    cohort = {"index": new, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
    cohort |= {"lengths": torch.tensor([new.numel()]), "steps": torch.tensor([0])}
    for key, value in cohort.items():
        state[key] = torch.cat([state[key], value]) if key in state else value


def _update(param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Apply one AdamW update to the selected weights of one parameter."""
    (beta1, beta2), lr = group["betas"], float(group["lr"])
    state["steps"] += 1
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(grad, 1 - beta1)
    square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    steps = state["steps"].tolist()
    rates = [lr / (1 - beta1**step) for step in steps]
    roots = [math.sqrt(1 - beta2**step) for step in steps]
    index, flat = state["index"], param.view(-1)
    weight = flat.index_select(0, index).mul_(1 - lr * group["weight_decay"])
    if len(steps) == 1:
        weight.addcdiv_(mean, square.sqrt().div_(roots[0]).add_(group["eps"]), value=-rates[0])
    else:
        rate, root = (_spread(x, state["lengths"].tolist(), weight) for x in (rates, roots))
        weight.addcdiv_(mean.mul(rate), square.sqrt().div_(root).add_(group["eps"]), value=-1)
    flat.scatter_(0, index.long(), weight)  # several times faster than indexed assignment


def _spread(values: list[float], lengths: list[int], like: Tensor) -> Tensor:
    """Return one value per weight: that of its cohort."""
    spread = torch.empty_like(like)
    for part, value in zip(spread.split(lengths), values, strict=True):
        part.fill_(value)
    return spread
