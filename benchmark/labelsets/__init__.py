"""Label sets: the classes that a model is trained on or scored in, one YAML file per set, and merges between them."""

from benchmark.labelsets.catalogue import find, known, read, shipped
from benchmark.labelsets.model import LabelClass, LabelSet, Merge, merge

__all__ = ["LabelClass", "LabelSet", "Merge", "find", "known", "merge", "read", "shipped"]
