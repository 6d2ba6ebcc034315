"""A run's trained weights and example predictions as files, and the model rebuilt from them."""
