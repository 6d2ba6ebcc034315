"""From a model and labelled images to confusion matrices."""
