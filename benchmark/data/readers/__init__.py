"""One file per dataset, each exposing ``READER``; found by file name (see ``benchmark.common.registry``)."""
