"""The command line: words in, calls out. Heavy imports wait until a command needs them."""

from benchmark.cli.app import app, main

__all__ = ["app", "main"]
