"""How near estimated values come to the exact ones, for few coalitions."""
