"""Losses of averages of models: their outputs are averaged, and nothing is trained.

Shapes: C coalitions of a block, V validation examples, K outputs.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, takewhile
from operator import eq

import torch
from torch import Tensor

from fl_sv.data import Task
from fl_sv.game.coalitions import members_of
from fl_sv.training.scoring import Outputs, mean_scores
from fl_sv.training.stack import score_outputs

BLOCK = 1 << 20  # numbers that are scored at once, 8 bytes each


def average_losses(
    task: Task,
    y: Tensor,
    own: Mapping[int, Outputs],
    weights: Mapping[int, int],
    coalitions: Iterable[int],
) -> Iterator[dict[int, float]]:
    """The loss of the average of the members' own models, by coalition, block by block.

    y: the targets (V,).
    own: the outputs (V, K) of each company's own model. Sums go in this order, so that it must not
        be the config's.
    weights: of each company, above 0.
    coalitions: bitmasks of one company or more. They come back in another order.
    """
    outputs = {i: torch.tensor(own_VK).to(y.device).double() for i, own_VK in own.items()}
    at_once = max(1, BLOCK // (len(y) * task.outputs_of_a_row))
    averages = _averages(outputs, weights, coalitions)
    while block := list(islice(averages, at_once)):
        losses_CV, _ = score_outputs(task, torch.stack([average for _, average in block]), y)
        means = mean_scores(losses_CV.cpu(), None)
        yield {c: loss for (c, _), (loss, _) in zip(block, means, strict=True)}


def _averages(
    outputs: Mapping[int, Tensor], weights: Mapping[int, int], coalitions: Iterable[int]
) -> Iterator[tuple[int, Tensor]]:
    """Each coalition with the weighted mean (V, K) of its members' outputs.

    Coalitions that begin with the same companies follow each other and share their sums. So a
    coalition costs about one addition, and memory grows with the number of companies.
    """
    place = {company: number for number, company in enumerate(outputs)}

    def in_order(coalition: int) -> int:
        return sum(1 << (len(place) - place[i]) for i in members_of(coalition))

    before: list[int] = []  # the companies whose outputs are summed up
    sums: list[Tensor] = []  # of the first of them, the first two, ...
    for coalition in sorted(coalitions, key=in_order):
        members = sorted(members_of(coalition), key=place.__getitem__)
        common = sum(1 for _ in takewhile(lambda c: eq(*c), zip(before, members, strict=False)))
        del sums[common:]
        for company in members[common:]:
            weighted = weights[company] * outputs[company]
            sums.append(sums[-1] + weighted if sums else weighted)
        before = members
        yield coalition, sums[-1] / sum(weights[company] for company in members)
