"""The methods under study."""
