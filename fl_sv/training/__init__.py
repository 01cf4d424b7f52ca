"""Training: one model by SGD, the same for a stack of models, and losses on the validation set."""
