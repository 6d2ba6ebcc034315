"""Text for LaTeX: escaped, and its width in print."""

from __future__ import annotations

import re
import unicodedata

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedblright{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "…": r"\ldots{}", "–": r"\textendash{}", "—": r"\textemdash{}", "ß": r"\ss{}",
    "≠": r"$\neq$", "−": r"$-$", "→": r"$\to$",
}  # fmt: skip
"""Brackets and stars are braced: at the start of a row they would be arguments of the preceding ``\\\\``."""
ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u0327"
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
}  # fmt: skip
WIDTHS = (("MW@", 8.2), ("mw%&±×→≠—…", 7.2), (" .,:;'|!()[]ijltf-I", 3.4))
"""Widths of characters in ``\\footnotesize`` of a 10-point document, in points, rounded up."""
UPPER, OTHER = 6.3, 4.7
"""Width of other capital and other characters."""


def width(text: str) -> float:
    """Return the width of a text in points, estimated from above."""
    return sum(
        next((each for signs, each in WIDTHS if sign in signs), UPPER if sign.isupper() else OTHER) for sign in text
    )


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; characters missing from pdfLaTeX's fonts are printed as their code point."""
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    escaped = "".join(SIGNS.get(sign) or _sign(sign) for sign in plain)
    return re.sub(r"([-'])(?=\1)", r"\1{}", escaped)  # two in a row would form a ligature


def _sign(sign: str) -> str:
    if " " <= sign <= "~":
        return sign
    name = unicodedata.name(sign, "")
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name)
    if greek:
        letter = greek[2].lower().replace("lamda", "lambda")
        letter = letter if greek[1] == "SMALL" else letter.capitalize()
        if letter in GREEK:
            return rf"$\{letter}$"
    parts = unicodedata.normalize("NFD", sign)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return sign
    return f"{{[}}U+{ord(sign):04X}{{]}}"
