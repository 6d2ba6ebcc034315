"""The Python interface, which ``import benchmark`` offers: runs, records, tables and trained models.

Each function does what a command does, through the same code, and raises :class:`benchmark.common.errors.UserError`
where the command ends with code 2. ``benchmark/__init__.py`` imports these modules on first use: ``import benchmark``
costs nothing, and reading records does not import torch.

``benchmark.records``, ``benchmark.protocol`` and ``benchmark.plan`` are subpackages, so no function has such a name:
importing the subpackage would replace it. The functions are verbs instead, such as ``read_records``.
"""
