"""``python -m benchmark plan``: estimates time, memory and disk of runs without running them."""
