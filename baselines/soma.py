"""SoMA: the minor singular components of each weight matrix train, as the paper has it."""

from __future__ import annotations

from baselines._minor_components import MinorComponents


class SoMA(MinorComponents):
    """W = U S Vᵀ per matrix; the last r components train as B A (A = √S Vᵀ, B = U √S), the residual is frozen.

    The function at the start is the pre-trained one: the forward pass computes W x + (B A - B₀A₀) x, which is
    (W - B₀A₀) x + B A x with W untouched, so that detaching leaves nothing behind. Weight decay draws the pairs
    to zero, hence the matrix to its residual.

    A ViT-L: 4,718,592 in pairs and 147,456 biases. The published 4,867,072 are 1,024 more: DINOv2's mask token,
    which the released code leaves trainable, no image ever reaches, and this backbone does not have.

    The released code computes something else, see :mod:`baselines.soma_as_released`.
    """

    label = "SoMA"
    source = "Yun et al., SoMA, CVPR 2025"


METHOD = SoMA
