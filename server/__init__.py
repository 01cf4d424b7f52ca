"""The operator's side: the server app and the stages of a valuation."""
