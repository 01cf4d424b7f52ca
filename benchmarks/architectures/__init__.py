"""How fast stacks of CNNs, transformers and other modules train, beside a loop in plain torch."""
