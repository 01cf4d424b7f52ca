"""Deep mutual learning (Zhang et al. 2018): each model learns from labels and from its peers.

Shapes: B rows of a batch, K classes; logits of all peers are (peers, B, K).
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fl_sv.distillation.checks import labels, needed, reals
from fl_sv.distillation.losses import hard_ce, kl
from fl_sv.distillation.training import Schedule, minimise
from fl_sv.distillation.transfer import TransferSet, outputs_on


def mutual(logits: Tensor, targets: Tensor, average: bool = True) -> Tensor:
    """(peers, B) loss of each peer i: CE(z_i, y) + w sum over j != i of KL(p_j || p_i).

    logits: z (peers, B, K), p = softmax(z); targets: (B,). w is 1 / (peers - 1), or 1 without
    `average`, as in the authors' code. The teaching peer gets no gradient, so the sum over peers is
    one step of all of them together. A single model has only its CE. Raises InputError for bad
    input.
    """
    peer_logits = reals(logits, "logits", "PBK")
    n_peers, n_rows, n_classes = peer_logits.shape
    target_B = labels(targets, n_rows, n_classes)
    log_p = peer_logits.log_softmax(2)
    # (peers, peers, B): the first axis learns from the second.
    divergence = kl(log_p.detach()[None], log_p[:, None])
    others = 1 - torch.eye(n_peers, dtype=peer_logits.dtype, device=peer_logits.device)[:, :, None]
    weight = 1 / max(n_peers - 1, 1) if average else 1.0
    hard = torch.stack([hard_ce(z_BK, target_B) for z_BK in peer_logits])
    return hard + weight * (others * divergence).sum(1)


def learn_together(
    peers: Sequence[nn.Module],
    transfer: TransferSet,
    schedule: Schedule,
    generator: torch.Generator,
) -> list[nn.Module]:
    """Copies of the peers after deep mutual learning; all take each step at the same time.

    Student and teacher may learn together as two peers of different size. Raises InputError for an
    unlabelled transfer set, or one that a peer cannot use.
    """
    together = nn.ModuleList(copy.deepcopy(peer) for peer in peers)
    targets = needed(transfer.targets, "mutual learning")
    for i, peer in enumerate(together):
        outputs_on(peer, transfer, f"peer {i}")

    def loss_of_rows(rows_B: Tensor) -> Tensor:
        logits = torch.stack([peer(transfer.x[rows_B]) for peer in together])
        return mutual(logits, targets[rows_B]).sum(0)

    minimise(together, loss_of_rows, len(transfer), schedule, generator)
    return list(together)
