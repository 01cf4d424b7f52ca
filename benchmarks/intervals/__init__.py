"""How often the intervals of values hold: with few validation rows, and with samples that stop."""
