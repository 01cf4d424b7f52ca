"""A library of further methods: no run uses them, `fl_sv.distillation.NAME` opens them.

Each is a function of tensors or models with the field's name; docs/distillation.md lists them with
formulas and papers.
"""
