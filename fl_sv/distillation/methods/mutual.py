"""Deep mutual learning (Zhang et al. 2018): models that learn together, each from the labels and
from its peers.

Shapes: P peers, B rows of a batch, K classes.
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
    """(P, B) loss of each peer on each row: CE(z_i, y) + w sum over j != i of KL(softmax z_j ||
    softmax z_i).

    logits (P, B, K), targets (B,). w = 1/(P - 1), or 1 without `average`, as in the authors' code.
    No gradient goes to the peer that teaches, so the sum over P is one step of all of them
    together. A single model has only its CE. Raises InputError for bad input."""
    peer_logits = reals(logits, "logits", "PBK")
    n_peers, n_rows, n_classes = peer_logits.shape
    target_B = labels(targets, n_rows, n_classes)
    log_p = peer_logits.log_softmax(2)
    # First axis: who learns, second: from whom.
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
    """Copies of the peers after deep mutual learning, all stepping at the same time (Zhang et al.
    2018).

    Student and teacher together are two peers of different size. Raises InputError for an
    unlabelled transfer set, or one that a peer cannot use."""
    together = nn.ModuleList(copy.deepcopy(peer) for peer in peers)
    targets = needed(transfer.targets, "mutual learning")
    for i, peer in enumerate(together):
        outputs_on(peer, transfer, f"peer {i}")

    def loss_of_rows(rows_B: Tensor) -> Tensor:
        logits = torch.stack([peer(transfer.x[rows_B]) for peer in together])
        return mutual(logits, targets[rows_B]).sum(0)

    minimise(together, loss_of_rows, len(transfer), schedule, generator)
    return list(together)
