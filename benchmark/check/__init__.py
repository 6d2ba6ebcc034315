"""``python -m benchmark check``: run a short fixed set again and compare with its committed records."""
