"""``python -m benchmark stability``: do two independent estimates choose the same weights?

FisherTune rests on an estimate. Here one model, its decoder warmed up as the protocol has it, is estimated twice, from
other images and with other noise, by every estimator and criterion; what counts is how many of the chosen weights both
choose, against the number of images and of gradients that this took.
"""
