"""The methods under study, and their ablations."""
