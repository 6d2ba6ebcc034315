"""``python -m benchmark plan``: what a run would take, without running it."""
