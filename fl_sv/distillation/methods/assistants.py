"""Teacher assistants (Mirzadeh et al. 2020): models of falling size between teacher and student.

A student that is far smaller than its teacher learns better from a model between them.
"""

from collections.abc import Callable, Sequence

from torch import nn

from fl_sv.distillation.transfer import Function


def chain(
    teacher: Function,
    models: Sequence[nn.Module],
    learn: Callable[[nn.Module, Function], nn.Module],
) -> list[nn.Module]:
    """The trained assistants and, last, the student: each learns from the one before it.

    learn: from (student, teacher) to the trained student, such as `distil` with everything else
    fixed. With a single model this is plain distillation.
    """
    learned: list[nn.Module] = []
    for model in models:
        learned.append(learn(model, learned[-1] if learned else teacher))
    return learned
