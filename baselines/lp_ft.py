"""LP-FT: train the decoder on the frozen backbone, then decoder and backbone together."""

from __future__ import annotations

from baselines.full import Full, FullSettings
from benchmark.method import Budget, Phase, UserError, setting


class LPFTSettings(FullSettings):
    """Those of full fine-tuning, and the length of the first phase."""

    decoder_first: float = setting(
        0.5,
        "ours",
        "fraction of the iterations that train only the decoder; the paper trains the probe to convergence and then "
        "fine-tunes with a second budget, so here each gets half of one budget; 0 is full fine-tuning",
        ge=0,
        lt=1,
    )


class LPFT(Full):
    """Linear probing, then full fine-tuning, as in :class:`~baselines.full.Full`.

    A trained decoder's first gradients distort the pre-trained features less than those of a random decoder. The
    protocol's decoder takes the place of the paper's linear classifier. One learning-rate schedule spans both phases.

    In protocols with a decoder warm-up, every method is preceded by linear probing: full fine-tuning is LP-FT there.
    """

    label = "LP-FT"
    source = "Kumar et al., Fine-Tuning can Distort Pretrained Features, ICLR 2022"
    Settings = LPFTSettings

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        """Return a phase that trains only the decoder, and one that trains everything.

        Raises:
            UserError: the protocol has a decoder warm-up, or too few iterations for both phases.
        """
        if budget.warmed:
            raise UserError(
                f"lp-ft: the protocol trains the decoder alone for {budget.warmed} iterations already, so full "
                "fine-tuning is LP-FT there; use method full"
            )
        share, iterations = self.settings.decoder_first, budget.iterations
        alone = max(1, round(share * iterations)) if share else 0
        if alone >= iterations:
            raise UserError(
                f"lp-ft: {iterations} iterations are too few for a decoder phase ({alone}) and fine-tuning; use more "
                "iterations, or lower decoder_first"
            )
        tune = Phase("tune", iterations - alone)
        return (Phase("decoder", alone, backbone=False), tune) if alone else (tune,)


METHOD = LPFT
