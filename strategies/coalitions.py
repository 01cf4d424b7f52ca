"""The sweep's strategy: FedAvg of all coalitions of a wave, with one message a company and round.

The message to a company carries a stack for each model size and replicate: the models of the
coalitions to which the company belongs. The company trains the stack and sends it back. The new
model of a coalition is the mean over its members, weighted by `training.weights`. Sums are in
float64, in the order of the companies' names. In the first round all coalitions still have the same
untrained model, so only one is sent, and trained for all of them.

Shapes: N companies, C coalitions of the wave. A stack has one flat vector of parameters a row:
(coalitions, parameters).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl_sv.flower import schema, wire
from fl_sv.game.coalitions import members_matrix
from fl_sv.training.pairs import Pair
from strategies.mean import CACHE_NUMBERS, blocks, cuts, within
from strategies.products import Members
from strategies.roster import Roster, to_array, to_numpy
from strategies.spool import reader
from strategies.watch import Parts, Watch

PairsOf = Mapping[str, Sequence[Pair]]
NO_PAIRS: PairsOf = {}


class CoalitionStrategy(Strategy):
    """FedAvg of each coalition over its own members, for all coalitions of a wave at once.

    coalitions: of the wave, as bitmasks; rows of a stack have their order.
    dtype: numpy's name of the type that parameters have in messages.
    pairs: by the key of a stack, the adapters of which the products are averaged.
    watched: the untrained models (1, parameters) by key, where the audit watches the wave.
    parts: of the operator's rows, where the audit compares the companies' rows.
    may_diverge: whether parameters may be any numbers, NaN and infinite too.
    """

    may_diverge = False

    def __init__(
        self,
        roster: Roster,
        coalitions: Sequence[int],
        dtype: str,
        pairs: PairsOf = NO_PAIRS,
        watched: Mapping[str, NDArray[np.floating]] | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.roster = roster
        self.dtype = dtype
        self.pairs = pairs
        companies = roster.config.companies
        members_CN = members_matrix(coalitions, len(companies))
        weights = [roster.weights[company] for company in companies]
        weight_CN = members_CN * np.array(weights, dtype=np.float64)
        self.weight_C = weight_CN.sum(axis=1)
        self.watch = watched and Watch(companies, coalitions, weight_CN, watched, parts)
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
            parts = ArrayRecord()
            for key, stack in stacks.items():
                if _is_shared(stack.shape):
                    parts[key] = arrays[key]
                else:
                    shape = (len(rows), stack.shape[1])
                    size = max(1, CACHE_NUMBERS // shape[1])
                    own = (stack[rows[start:end]] for start, end in blocks(len(rows), size))
                    parts[key] = to_array(own, shape, self.dtype)
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

        replies: that passed `check_reply`.

        Raises CompanyFailed when a company failed, ValueError when one sent no reply.
        """
        contents = self.roster.replies_by_name(list(replies), server_round)
        missing = [company for company in self._sent_shapes if company not in contents]
        if missing:
            raise ValueError(f"{missing[0]} did not answer in round {server_round}")
        mean = ArrayRecord()
        for key, shape in self._sent_shapes[next(iter(contents))].items():
            stacks = {company: content[wire.ARRAYS][key] for company, content in contents.items()}
            shape = (len(self.weight_C), shape[1])
            parts = self._mean(stacks, shape[1], self.pairs.get(key, ()))
            mean[key] = to_array(parts, shape, self.dtype)
            if self.watch:
                self.watch.see(key, stacks, mean[key])
        return mean, None

    def _mean(
        self, stacks: Mapping[str, Array], n_params: int, pairs: Sequence[Pair]
    ) -> Iterator[NDArray[np.float64]]:
        """The stack of all coalitions in row order, from the companies' stacks of their own ones.

        A block is some whole rows, or a part of a long one.
        """
        readers = {company: reader(stack) for company, stack in stacks.items()}
        n_rows, n_columns = max(1, CACHE_NUMBERS // n_params), min(n_params, CACHE_NUMBERS)
        for start, end in blocks(len(self.weight_C), n_rows):
            for left, right in cuts(n_params, n_columns, pairs):
                total = torch.zeros(end - start, right - left, dtype=torch.float64)
                here, members = within(pairs, left, right), Members()
                for company, read in readers.items():
                    rows = self.rows_of[company]
                    first, last = np.searchsorted(rows, (start, end))
                    if first == last:
                        continue
                    places = torch.from_numpy(rows[first:last] - start)
                    if _is_shared(stacks[company].shape):
                        first, last = 0, 1
                    part = read(first * n_params + left, (last - 1) * n_params + right)
                    models = torch.tensor(part.reshape(last - first, -1), dtype=torch.float64)
                    models = models.expand(len(places), -1)
                    total.index_add_(0, places, models, alpha=self.roster.weights[company])
                    if here:
                        members.add(places, models, self.roster.weights[company])
                mean = total / torch.from_numpy(self.weight_C[start:end, None])
                members.put_products(mean, left, here)
                yield mean.numpy()

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

    def __init__(
        self, roster: Roster, coalitions: Sequence[int], dtype: str, pairs: PairsOf = NO_PAIRS
    ) -> None:
        super().__init__(roster, coalitions, dtype, pairs)
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


def _is_shared(shape: tuple[int, ...]) -> bool:
    """Whether a stack is one model that stands for those of all coalitions."""
    return shape[0] == 1
