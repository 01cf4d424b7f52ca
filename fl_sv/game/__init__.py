"""The game: coalitions as bitmasks, their utilities, and both as CSV."""
