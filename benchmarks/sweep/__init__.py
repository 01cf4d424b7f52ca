"""How fast the sweep of all coalitions is, beside Flower and plain torch."""
