"""From values to whole cents, and how certain they are."""
