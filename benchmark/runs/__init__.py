"""Which runs are pending, where they execute, and the locks that keep two sweeps from repeating one."""
