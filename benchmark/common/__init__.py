"""What every folder may use: errors, atomic files, RNG streams, statistics, registry, machine."""
