"""Dataset readers: one file per dataset, found by file name (see ``benchmark.common.registry``), with a ``READER``."""
