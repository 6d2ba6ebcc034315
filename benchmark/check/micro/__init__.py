"""Micro-references: numbers that the code computes on tiny inputs in seconds, the same on every machine.

A *case* is a named function that returns numbers; :mod:`.cases` lists them by family. The cases of methods, decoders,
evaluation modes, readers, backbones and label sets come from their registries, so a new one has a case at once.
"""
