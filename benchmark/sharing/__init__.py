"""Runs for others: a folder that holds one whole (:mod:`.bundle`), its card, and the way to the hub and back.

What comes from elsewhere is believed after its checks alone: files of known names, sizes and hashes as in the
manifest, a sealed record that its own confusions confirm, plain arrays, and tensors of just the names, shapes and
types that the run's method, backbone and decoder have. Nothing is unpickled, and nothing is placed before all of it is
checked. The manifest tells damage; who made a run is told by the repository and the commit that it is from.
"""
