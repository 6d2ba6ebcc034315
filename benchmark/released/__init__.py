"""Checkpoints in the format of the official repositories (mmsegmentation's): evaluate them, and write runs as such.

:mod:`.names` has the names of their tensors as data, :mod:`.layouts` what a method's checkpoint contains,
:mod:`.reading` builds the model of a checkpoint and accounts for every tensor, :mod:`.scoring` evaluates it, and
:mod:`.writing` is the other direction. Nothing in a checkpoint is executed.
"""
