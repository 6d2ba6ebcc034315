"""``python -m benchmark records verify``: what a folder of records must satisfy before its numbers are shown.

``single`` checks one record by itself, ``together`` checks records against each other, ``counts`` compares the recorded
number of trainable parameters with the method's own, and ``command`` prints one line per fault.
"""
