"""SoMA: train the minor singular components of each weight matrix, as described in the paper."""

from __future__ import annotations

from baselines._minor_components import MinorComponents


class SoMA(MinorComponents):
    """W = U S Vᵀ per matrix. The last r components train as B A (A = √S Vᵀ, B = U √S); the residual is frozen.

    The forward pass computes W x + (B A - B₀A₀) x, which equals (W - B₀A₀) x + B A x without modifying W. At the start,
    the model therefore computes the same as the pre-trained one, and detaching restores it. Weight decay pulls the
    pairs towards zero, and thus the matrix towards its residual.

    On a ViT-L: 4,718,592 parameters in pairs and 147,456 in biases. The published 4,867,072 include 1,024 more:
    DINOv2's mask token, which is trainable in the released code although it is never used, and which this backbone does
    not have.

    The released code differs, see :mod:`methods.ablations.soma_as_released`.
    """

    label = "SoMA"
    source = "Yun et al., SoMA, CVPR 2025"


METHOD = SoMA
