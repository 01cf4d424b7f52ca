"""The operator of the federation: the server app, and the valuation."""
