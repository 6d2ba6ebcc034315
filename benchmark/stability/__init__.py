"""``python -m benchmark stability``: do two independent Fisher estimates select the same weights?

FisherTune selects weights by an estimate. This command estimates twice on the same model, after the protocol's decoder
warm-up, with different images and noise, for every estimator and criterion. It reports the overlap of the two
selections against the number of images and of gradient evaluations.
"""
