"""Time and memory of every main method on one GPU: ``python -m tests.gpu``, which is ``tox -e gpu``."""
