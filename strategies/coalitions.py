"""The sweep's strategy: every coalition of a wave in one message per company and round.

Shapes: C coalitions of the wave, C_i those with company i, N companies, P parameters of a model.

A message to company i carries, for each model size and replicate, the stack (C_i, P) of the models
of the coalitions it belongs to. The company trains the stack and sends it back; each coalition's
new model is the example-weighted mean over its members, summed in float64 in the order of the
companies' names. In the first round all coalitions still hold the same untrained model, so it
travels and trains once."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl_sv.flower import wire
from fl_sv.game.coalitions import members_matrix
from strategies.roster import Roster, check_arrays, to_numpy, to_record

CACHE_BYTES = (
    1 << 20
)  # of sums at a time: a core's second cache; ten times as much costs a third more time


class CoalitionStrategy(Strategy):
    """FedAvg of each coalition over its own members, for all coalitions of a wave at once."""

    def __init__(self, roster: Roster, coalitions: Sequence[int], dtype: str) -> None:
        self.roster = roster
        self.dtype = dtype
        companies = roster.config.companies
        members_CN = members_matrix(coalitions, len(companies))
        self.examples_C = members_CN @ np.array(
            [roster.examples[company] for company in companies], dtype=np.float64
        )
        self.rows_of = {
            company: np.flatnonzero(members_CN[:, i]) for i, company in enumerate(companies)
        }
        self._sent_shapes: dict[str, dict[str, tuple[int, ...]]] = {}

    def summary(self) -> None:
        """Nothing to say that the progress bar does not."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message per company that belongs to a coalition of the wave."""
        stacks = to_numpy(arrays)
        messages = []
        for company in self.roster.by_name:
            if len(rows := self.rows_of[company]):
                parts = {
                    key: stack if len(stack) == 1 else stack[rows] for key, stack in stacks.items()
                }
                self._sent_shapes[company] = {key: part.shape for key, part in parts.items()}
                messages.append(self.roster.message(company, wire.COALITIONS, server_round, parts))
        return messages

    def check_reply(self, company: str, content: RecordDict) -> None:
        """Raises ValueError when a company's reply cannot be aggregated."""
        check_arrays(content, self._sent_shapes[company], self.dtype)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new model of every coalition. Raises CompanyFailed or ValueError when a member's
        reply is no model.
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
        """(C, P) of every coalition from its members' (C_i, P), or (1, P) where all its models are
        the same.

        A block of coalitions after the other, whose sums stay in the processor's cache.
        """
        n_params = next(iter(stacks.values())).shape[1]
        mean_CP = np.empty((len(self.examples_C), n_params), dtype=self.dtype)
        block = max(1, CACHE_BYTES // (8 * n_params))
        for start in range(0, len(mean_CP), block):
            end = min(start + block, len(mean_CP))
            sum_BP = torch.zeros(end - start, n_params, dtype=torch.float64)
            for company, stack in stacks.items():
                first, last = np.searchsorted(self.rows_of[company], (start, end))
                rows = torch.from_numpy(self.rows_of[company][first:last] - start)
                part = torch.tensor(
                    stack if len(stack) == 1 else stack[first:last], dtype=torch.float64
                )
                sum_BP.index_add_(
                    0, rows, part.expand(len(rows), -1), alpha=self.roster.examples[company]
                )
            mean_CP[start:end] = sum_BP / torch.from_numpy(self.examples_C[start:end, None])
        return mean_CP

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: coalitions are scored by the operator's validation set, never by the companies
        themselves.
        """
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        return None
