"""Dataset readers for the official folder layouts, augmentation, and the rendered default datasets."""
