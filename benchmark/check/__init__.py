"""``python -m benchmark check``: repeat a few short runs and compare them with their committed records."""
