"""Share runs: pack one into a folder with a card (:mod:`.bundle`), push it to the hub, pull it back.

A pulled run is not trusted before it is checked: known file names, sizes and hashes as in the manifest, a sealed
record whose scores match its confusion matrices, plain arrays, and tensors with exactly the names, shapes and types
of the run's method, backbone and decoder. Nothing is unpickled, and no file is written among the records before all
checks pass. The manifest detects damage, not forgery; the origin of a run is the repository and commit that it was
pulled from.
"""
