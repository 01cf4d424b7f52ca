"""The sweep's strategy: FedAvg of all coalitions of a wave, with one message a company and round.

The message to a company carries a stack for each model size and replicate: the models of the
coalitions to which the company belongs. The company trains the stack and sends it back. The new
model of a coalition is the mean over its members, weighted by their examples. Sums are in float64,
in the order of the companies' names. In the first round all coalitions still have the same
untrained model, so only one is sent, and trained for all of them.

Shapes: N companies, C coalitions of the wave. A stack has one flat vector of parameters a row:
(coalitions, parameters).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl_sv.flower import schema, wire
from fl_sv.game.coalitions import members_matrix
from strategies.roster import Roster, to_numpy, to_record

# Bytes of the sums that are in work at a time. They fit into the second cache of a core; ten times
# as much takes a third more time.
CACHE_BYTES = 1 << 20


class CoalitionStrategy(Strategy):
    """FedAvg of each coalition over its own members, for all coalitions of a wave at once.

    coalitions: of the wave, as bitmasks; rows of a stack have their order.
    dtype: numpy's name of the type that parameters have in messages.
    may_diverge: whether parameters may be any numbers, NaN and infinite too.
    """

    may_diverge = False

    def __init__(self, roster: Roster, coalitions: Sequence[int], dtype: str) -> None:
        self.roster = roster
        self.dtype = dtype
        companies = roster.config.companies
        members_CN = members_matrix(coalitions, len(companies))
        examples = [roster.examples[company] for company in companies]
        self.examples_C = members_CN @ np.array(examples, dtype=np.float64)
        # The rows of a wave's stack that hold the models of a company's coalitions, ascending.
        self.rows_of = {
            company: np.flatnonzero(members_CN[:, i]) for i, company in enumerate(companies)
        }
        # The shape of every stack of the last messages, by company and key.
        self._sent_shapes: dict[str, dict[str, tuple[int, ...]]] = {}

    def summary(self) -> None:
        """Logs nothing: the progress bar shows the sweep."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message to each company that belongs to a coalition of the wave."""
        stacks = to_numpy(arrays)
        messages = []
        for company in self.roster.by_name:
            rows = self.rows_of[company]
            if not len(rows):
                continue
            parts = {
                key: stack if _is_shared(stack) else stack[rows] for key, stack in stacks.items()
            }
            self._sent_shapes[company] = {key: part.shape for key, part in parts.items()}
            messages.append(self.roster.message(company, wire.COALITIONS, server_round, parts))
        return messages

    def check_reply(self, company: str, content: RecordDict) -> None:
        """Raises ValueError when a company's reply cannot be aggregated."""
        schema.check_reply(
            wire.COALITIONS,
            content,
            self._sent_shapes[company],
            self.dtype,
            may_diverge=self.may_diverge,
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new model of every coalition.

        Raises CompanyFailed when a company failed, ValueError when one sent no reply, or no models.
        """
        contents = self.roster.replies_by_name(list(replies), server_round)
        missing = [company for company in self._sent_shapes if company not in contents]
        if missing:
            raise ValueError(f"{missing[0]} did not answer in round {server_round}")
        trained: dict[str, dict[str, NDArray[np.floating]]] = {}
        for company, content in contents.items():
            self.check_reply(company, content)
            for key, stack in to_numpy(content[wire.ARRAYS]).items():
                trained.setdefault(key, {})[company] = stack
        return to_record({key: self._mean(stacks) for key, stacks in trained.items()}), None

    def _mean(self, stacks: Mapping[str, NDArray[np.floating]]) -> NDArray[np.floating]:
        """The stack of all coalitions, from the companies' stacks of their own coalitions.

        Blocks of coalitions are averaged one after the other, so that the sums of a block stay in
        the processor's cache.
        """
        n_coalitions = len(self.examples_C)
        n_params = next(iter(stacks.values())).shape[1]
        mean = np.empty((n_coalitions, n_params), dtype=self.dtype)
        block = max(1, CACHE_BYTES // (8 * n_params))
        for start in range(0, n_coalitions, block):
            end = min(start + block, n_coalitions)
            total = torch.zeros(end - start, n_params, dtype=torch.float64)
            for company, stack in stacks.items():
                rows = self.rows_of[company]
                first, last = np.searchsorted(rows, (start, end))
                places = torch.from_numpy(rows[first:last] - start)
                part = stack if _is_shared(stack) else stack[first:last]
                models = torch.tensor(part, dtype=torch.float64).expand(len(places), -1)
                total.index_add_(0, places, models, alpha=self.roster.examples[company])
            mean[start:end] = total / torch.from_numpy(self.examples_C[start:end, None])
        return mean

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """No messages: the operator's validation set scores coalitions, never a company."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        return None


class RatesStrategy(CoalitionStrategy):
    """FedAvg at learning rates that are tried: a training may diverge, and then it ends.

    diverged: by key the company whose parameters were the first, in the order of the names, that
        were beyond the bounds of parameters; empty where only the mean was.
    """

    may_diverge = True

    def __init__(self, roster: Roster, coalitions: Sequence[int], dtype: str) -> None:
        super().__init__(roster, coalitions, dtype)
        self.diverged: dict[str, str] = {}

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new models of the trainings that have not diverged. Raises as FedAvg does."""
        replies = list(replies)
        with np.errstate(over="ignore", invalid="ignore"):
            arrays, metrics = super().aggregate_train(server_round, replies)
        assert arrays is not None  # it raises instead
        contents = self.roster.replies_by_name(replies, server_round)
        for company, content in contents.items():
            for key in schema.unbounded(content[wire.ARRAYS]):
                self.diverged.setdefault(key, company)
        for key in schema.unbounded(arrays):
            self.diverged.setdefault(key, "")
        kept = {key: array for key, array in arrays.items() if key not in self.diverged}
        return ArrayRecord(kept), metrics


def _is_shared(stack: NDArray[np.floating]) -> bool:
    """Whether the stack is one model that stands for those of all coalitions."""
    return len(stack) == 1
