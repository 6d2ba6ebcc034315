"""Shared utilities: errors, atomic file writes, RNG streams, statistics, the registry, hardware and versions."""
