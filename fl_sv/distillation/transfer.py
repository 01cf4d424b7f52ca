"""Transfer sets: the rows on which a student learns from its teacher.

Real rows: `own` training data, `held_out`, `public` without labels, `shifted` to other class
frequencies. Invented rows: `gaussian` with the moments of real ones, `uniform` over all possible x;
the modules inversion, generator and density invent rows with the teacher's help. Random generators
are torch's, on the CPU.

Shapes: B rows, K classes; `*D` stands for the axes of one row.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fl_sv.distillation.checks import count, holds_any, labels, reals, same_shape
from fl_sv.errors import InputError

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class TransferSet:
    """Rows x (B, *D), finite, and their target classes (B,), or None where they are unknown."""

    name: str
    x: Tensor
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        reals(self.x, f"x of the transfer set {self.name}", "*")
        if self.x.ndim < 2:
            raise InputError(
                f"x of the transfer set {self.name} has shape {tuple(self.x.shape)}; it must be (B,"
                " *D)."
            )
        if self.targets is not None:
            labels(self.targets, len(self), None, f"targets of the transfer set {self.name}")

    def __len__(self) -> int:
        return len(self.x)

    def labelled_by(self, teacher: Function) -> "TransferSet":
        """The same rows with the teacher's predicted classes, for methods that need targets."""
        return replace(self, targets=outputs_on(teacher, self, "teacher").argmax(1))


def outputs_on(model: Function, transfer: TransferSet, who: str) -> Tensor:
    """(B, K) outputs of a model for every row, without gradient; `who`: "teacher" or "student".

    Raises InputError when it cannot take such rows, or returns anything but K numbers a row.
    """
    try:
        with torch.no_grad():
            logits = model(transfer.x)
    except (RuntimeError, IndexError) as error:
        raise InputError(
            f"the {who} cannot use the transfer set {transfer.name}, whose rows have shape "
            f"{tuple(transfer.x.shape[1:])} and type {transfer.x.dtype}: {error}"
        ) from error
    logits_BK = reals(logits, f"the output of the {who} for the transfer set {transfer.name}", "BK")
    if len(logits_BK) != len(transfer):
        raise InputError(
            f"the {who} has {len(logits_BK)} outputs for {len(transfer)} rows; it must"
            " have one a row."
        )
    return logits_BK


def own(x: Tensor, targets: Tensor) -> TransferSet:
    """A company's training rows."""
    return TransferSet("own", x, targets)


def held_out(x: Tensor, targets: Tensor) -> TransferSet:
    """Labelled rows from the same source that no model was trained on."""
    return TransferSet("held_out", x, targets)


def public(x: Tensor) -> TransferSet:
    """Public rows without labels."""
    return TransferSet("public", x)


def shifted(
    x: Tensor, targets: Tensor, frequencies: Tensor, *, size: int, generator: torch.Generator
) -> TransferSet:
    """`size` of the given rows, drawn with replacement by class.

    frequencies: (K,), the share of each class on average; at least 0, sum 1. Raises InputError for
    bad frequencies, or a class of positive frequency without a row.
    """
    wanted_K = reals(frequencies, "frequencies", "K").double()
    if holds_any(wanted_K < 0) or holds_any((wanted_K.sum() - 1).abs() > 1e-5):
        raise InputError("frequencies must be at least 0 and sum to 1; divide them by their sum.")
    target_B = labels(targets, len(x), len(wanted_K))
    there_K = torch.bincount(target_B, minlength=len(wanted_K))
    missing = ((there_K == 0) & (wanted_K > 0)).nonzero()
    if len(missing):
        raise InputError(f"frequencies want the class {int(missing[0])}, of which there is no row.")
    weight_B = (wanted_K / there_K.clamp_min(1))[target_B]
    rows = torch.multinomial(
        weight_B.cpu(), count(size, "size"), replacement=True, generator=generator
    )
    return TransferSet("shifted", x[rows], target_B[rows])


def gaussian(like: Tensor, *, size: int, generator: torch.Generator) -> TransferSet:
    """`size` normal rows with the mean and covariance of `like` (rows, *D).

    Raises InputError for fewer than two rows, which have no covariance.
    """
    like = reals(like, "like", "*")
    if like.ndim < 2 or len(like) < 2:
        raise InputError(
            f"like has shape {tuple(like.shape)}; moments need at least two rows, (rows, *D)."
        )
    flat_rows = like.flatten(1).double()
    # Real rows often span fewer dimensions than they have, so there is no Cholesky factor. The
    # centred rows themselves are a square root of the covariance.
    root = (flat_rows - flat_rows.mean(0)) / (len(flat_rows) - 1) ** 0.5
    z = torch.randn(count(size, "size"), len(root), generator=generator, dtype=torch.float64).to(
        flat_rows
    )
    return TransferSet(
        "gaussian", (flat_rows.mean(0) + z @ root).reshape(size, *like.shape[1:]).to(like.dtype)
    )


def uniform(low: Tensor, high: Tensor, *, size: int, generator: torch.Generator) -> TransferSet:
    """`size` rows uniform in the box between low (*D) and high (*D): "all possible x"."""
    return TransferSet("uniform", in_box(low, high, count(size, "size"), generator))


def in_box(low: Tensor, high: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """(size, *D) uniform rows. Raises InputError for a box whose low is above its high."""
    low, high = reals(low, "low", "*"), reals(high, "high", "*")
    same_shape(low, high, "low and high")
    if holds_any(low > high):
        raise InputError("low is above high; a box needs low <= high in every input.")
    return low + (high - low) * torch.rand(
        size, *low.shape, generator=generator, dtype=low.dtype
    ).to(low)
