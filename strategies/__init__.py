"""Flower strategies: the strict teacher, the sweep over coalitions, and the dict of Flower's own by
name.
"""
