"""FisherTune and its ablations."""
