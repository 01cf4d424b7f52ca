"""Rows from the density that a classifier implies: p(x) proportional to sum_k exp t_k(x).

Training fixes a classifier's logits only up to a function of x. To read logsumexp t(x) as log p(x)
(Grathwohl et al. 2020) is therefore a choice. For a ReLU net such a density has no finite mass, so
x stays in a box. Langevin steps with Metropolis' correction have exactly this density in the limit
of many steps.

Shapes: B rows (chains), K classes; `*D` stands for the axes of one row.
"""

import torch
from torch import Tensor

from fl_sv.distillation.checks import count, number
from fl_sv.distillation.gradients import pullback
from fl_sv.distillation.transfer import Function, TransferSet, in_box, outputs_on
from fl_sv.errors import InputError


def implied(
    teacher_fn: Function,
    low: Tensor,
    high: Tensor,
    *,
    size: int,
    generator: torch.Generator,
    steps: int = 200,
    step_size: float = 0.1,
) -> TransferSet:
    """The last rows of `size` chains in the box from low (*D) to high (*D), unlabelled.

    step_size: standard deviation of a step, in units of the box's width in each input. With a good
    one about half of the steps are accepted. Raises InputError for bad input, or when no step of
    any chain is accepted.
    """
    step_size = number(step_size, "step_size", 0, above=True)
    x = in_box(low, high, count(size, "size"), generator)
    outputs_on(teacher_fn, TransferSet("density", x), "teacher")
    width = high - low

    def slope(x: Tensor) -> tuple[Tensor, Tensor]:
        """log p (B,), and the mean of a Langevin step, as an offset in units of the box."""
        log_p_B, pull = pullback(lambda rows: teacher_fn(rows).logsumexp(1), x)
        return log_p_B.detach(), (
            pull(torch.ones_like(log_p_B)) * width * step_size**2 / 2
        ).detach()

    log_p_B, drift = slope(x)
    accepted = 0
    for _ in range(count(steps, "steps")):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x)
        proposal = x + width * (drift + step_size * noise)
        inside_B = ((proposal >= low) & (proposal <= high)).flatten(1).all(1)
        log_p_there_B, drift_there = slope(proposal.clamp(low, high))
        # The way back, in units of step_size, is -(noise + (drift + drift there) / step_size).
        back = noise + (drift + drift_there) / step_size
        log_ratio_B = log_p_there_B - log_p_B + ((noise**2 - back**2) / 2).flatten(1).sum(1)
        uniform_B = torch.rand(len(x), generator=generator, dtype=x.dtype).to(x)
        accept_B = inside_B & (uniform_B.log() < log_ratio_B)
        accepted += int(accept_B.sum())
        accept = accept_B.reshape(-1, *[1] * (x.ndim - 1))
        x, drift = torch.where(accept, proposal, x), torch.where(accept, drift_there, drift)
        log_p_B = torch.where(accept_B, log_p_there_B, log_p_B)
    if not accepted:
        raise InputError(f"no step was accepted with step_size {step_size}; take a smaller one.")
    return TransferSet("density", x)
