"""Select weights one by one, and train those alone.

:func:`top_k` chooses exactly k of all weights by score; :class:`SparseAdamW` is AdamW whose state and
updates exist for chosen weights only, so that every other weight stays bit-identical to the pre-trained one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.common.errors import UserError

CHUNK = 1 << 22  # values looked at together; bounds the working memory whatever the number of scores
DIGIT = 16  # bits ranked per pass
MOST_STEPS = 1 << 53  # up to which floating point, of which rates are computed, counts
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def top_k(scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    """Choose the k largest of all scores, over all tensors together.

    Exactly k are chosen; among equal scores the earlier in (order of ``scores``, position) wins. The k-th
    largest value is found by counting leading bits in passes over the scores, so no sort and no copy of them
    is made: the masks (one byte per value) are the only memory that grows with their number.

    Args:
        scores: name to tensor of any shape, floating point; infinities are ranked, NaN is refused.
        k: how many, 0 to the number of scores.

    Returns:
        name to boolean mask of the score's shape, on its device, in the order of ``scores``.

    Raises:
        ValueError: k out of range, a score that is NaN or not floating point.
    """
    return dict(top_k_masks(scores, k))


def top_k_masks(scores: Mapping[str, Tensor], k: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the items of :func:`top_k` one after the other, for whom all masks together are too much."""
    total = sum(score.numel() for score in scores.values())
    if not 0 <= k <= total:
        raise ValueError(f"cannot choose {k} of {total} scores")
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
    """Return integers that are ordered as ``values`` are (IEEE 754: flip a negative number's lower bits)."""
    bits = (values.to(wide) + 0.0).view(INTEGERS[wide])  # + 0.0 makes -0.0 equal 0.0
    return bits ^ ((bits >> (torch.iinfo(bits.dtype).bits - 1)) & torch.iinfo(bits.dtype).max)


def _kth_largest(scores: Mapping[str, Tensor], k: int, wide: torch.dtype) -> tuple[int, int]:
    """Return the k-th largest key and how many values equal to it belong to the k largest."""
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
        place = int(torch.searchsorted(above, k))  # first digit, from the top, with which k are reached
        k -= int(above[place - 1]) if place else 0
        prefix = (prefix << DIGIT) + (bins - 1 - place) - offset
    return prefix, k


class SparseAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter, ICLR 2019) over selected weights only.

    Nothing is selected at first. :meth:`select` adds weights at any time; those selected earlier keep their
    moments and their step count, new ones start from zero with a step count of their own (their bias
    correction is that of a fresh AdamW). An unselected weight is never written: no update, no weight decay.

    State per parameter: ``index`` (int32 positions, in order of selection), ``exp_avg``, ``exp_avg_sq`` (one
    value per position), per cohort selected together ``lengths`` and ``steps``, and ``left`` (positions that
    trained and no longer do) where there are any. At 5 % of the weights that is 7.5 % of what dense AdamW
    keeps. With everything selected it is ``torch.optim.AdamW``.

    Args:
        params: parameters or groups, as any optimizer takes them; each parameter contiguous.
        lr, betas, eps, weight_decay: as in ``torch.optim.AdamW``; a group may carry its own.
        names: the parameters by name, for errors and for :meth:`changes`.
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
        """Add the True positions of ``mask`` to the weights that train; return how many are new.

        Args:
            param: a parameter of this optimizer.
            mask: boolean, of the parameter's shape; False never unselects.

        Raises:
            ValueError: a parameter of another optimizer or not contiguous, a mask of another shape or type.
        """
        name = self._name(param)
        if not any(param is known for group in self.param_groups for known in group["params"]):
            raise ValueError(f"{name} does not belong to this optimizer")
        if not param.is_contiguous():
            raise ValueError(f"{name} is not contiguous in memory")
        if mask.shape != param.shape or mask.dtype != torch.bool:
            raise ValueError(f"the mask of {name} must be boolean of {tuple(param.shape)}")
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
        """Stop training the True positions of ``mask``; return how many did train.

        They keep the value they have and lose their moments; selected again, they start afresh.
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
        """Return which weights of ``param`` train, as a boolean mask of its shape."""
        mask = torch.zeros(param.numel(), dtype=torch.bool, device=param.device)
        if self.state.get(param):
            mask[self.state[param]["index"]] = True
        return mask.view(param.shape)

    def changes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return all that was ever written of the named parameters: every weight that trains or once did.

        Returns:
            name to flat positions (ascending, int32 where they fit) and the values there now, copied.
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
            UserError: a selected weight's gradient is NaN or infinite; nothing has been written then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        due = []
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and self.state.get(param):
                    grad = param.grad.reshape(-1).index_select(0, self.state[param]["index"])
                    due.append((group, param, grad))
        self._refuse_not_finite(due)
        for group, param, grad in due:
            _update(param, grad, self.state[param], group)
        return loss

    def _refuse_not_finite(self, due: list[tuple[dict[str, Any], Tensor, Tensor]]) -> None:
        # GradScaler skips the step by itself, so whatever arrives here not finite is a divergence.
        if torch.nn.utils.get_total_norm([grad for _, _, grad in due], math.inf).isfinite():
            return
        group, param, _ = next(entry for entry in due if not entry[2].isfinite().all())
        step = int(self.state[param]["steps"].max()) + 1
        raise UserError(
            f"the gradient of {self._name(param)} is not finite at its update {step} "
            f"(learning rate {group['lr']:.3g}): the training diverged; lower lr or train without mixed precision"
        )

    def _name(self, param: Tensor) -> str:
        return self._names.get(param) or f"a parameter of shape {tuple(param.shape)}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back a :meth:`state_dict`; the base class would turn indices into floating point.

        Raises:
            KeyError, TypeError, ValueError: it is none of these parameters; nothing has been taken then.
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
    """Return the smallest type that holds every position in a parameter."""
    return torch.int32 if param.numel() < 2**31 else torch.int64


def _check(saved: dict[str, Any], param: Tensor) -> None:
    """See that a saved state is one of the parameter.

    Raises:
        KeyError, TypeError, ValueError: it is not.
    """
    for key in saved.keys() & {"left"} | {"index"}:
        _check_positions(key, saved[key], param)
    count, cohorts = len(saved["index"]), saved["lengths"].numel()
    wanted = {key: (count, param.dtype) for key in ("exp_avg", "exp_avg_sq")}
    wanted |= {key: (cohorts, torch.int64) for key in ("lengths", "steps")}
    for key, (length, dtype) in wanted.items():
        if saved[key].shape != (length,) or saved[key].dtype != dtype:
            raise ValueError(f"{key} is not {length} values of {dtype}")
    for key, most in (("lengths", count), ("steps", MOST_STEPS)):
        if bool(((saved[key] < 0) | (saved[key] > most)).any()):
            raise ValueError(f"{key} are not between 0 and {most}")
    if int(saved["lengths"].sum()) != count:
        raise ValueError("the cohorts do not make up what trains")


def _check_positions(key: str, positions: Tensor, param: Tensor) -> None:
    if positions.ndim != 1 or positions.dtype != _positions(param):
        raise ValueError(f"{key} is not a list of positions in {_positions(param)}")
    if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < param.numel():
        raise ValueError(f"{key} leads outside of the parameter")
    mask = torch.zeros(param.numel(), dtype=torch.bool, device=positions.device)
    mask[positions] = True
    if int(mask.sum()) != len(positions):
        raise ValueError(f"{key} has a position twice")


def _append(state: dict[str, Any], new: Tensor, param: Tensor) -> None:
    """Give the positions ``new`` zero moments and a cohort of their own."""
    zeros = torch.zeros(new.numel(), dtype=param.dtype, device=param.device)
    cohort = {"index": new, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
    cohort |= {"lengths": torch.tensor([new.numel()]), "steps": torch.tensor([0])}
    for key, value in cohort.items():
        state[key] = torch.cat([state[key], value]) if key in state else value


def _update(param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Make one AdamW step on the selected weights of one parameter."""
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
    flat.scatter_(0, index.long(), weight)  # several times faster than indexing


def _spread(values: list[float], lengths: list[int], like: Tensor) -> Tensor:
    """Return each cohort's value for every weight of it."""
    spread = torch.empty_like(like)
    for part, value in zip(spread.split(lengths), values, strict=True):
        part.fill_(value)
    return spread
