"""The companies of a run with their nodes, and the content of every message."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.data import Scaling
from fl_sv.errors import CompanyFailed
from fl_sv.flower import wire
from strategies.spool import SpooledArray


@dataclass(frozen=True)
class Roster:
    """The companies of a run, with what they registered and what they are sent."""

    config: Config  # as the companies get it, without the operator's paths
    scaling: Scaling
    node_of: dict[str, int]  # Flower's node of each company
    examples: dict[str, int]  # number of rows
    fingerprints: dict[str, str] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)  # hashes of what nobody trains
    # Learning rates that the config leaves to the run, by the models' names in messages.
    rates: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def weights(self) -> dict[str, int]:
        """What each company's model weighs in the mean of a coalition."""
        weight = self.config.training.weight
        return {company: weight(n_examples) for company, n_examples in self.examples.items()}

    @property
    def by_name(self) -> list[str]:
        """Companies in the order of aggregation.

        Sums in the order of the names do not depend on the order in the config.
        """
        return sorted(self.node_of)

    def briefing(self, company: str, server_round: int) -> ConfigRecord:
        """The facts that a company needs to answer a message; it never opens the config file."""
        return ConfigRecord(
            {wire.COMPANY: company, wire.ROUND: server_round, **self._facts_for_all}
        )

    @cached_property
    def _facts_for_all(self) -> dict[str, str]:
        """What every message of the run says; a sweep sends hundreds of thousands of messages."""
        facts = {
            wire.RUN_CONFIG: self.config.model_dump_json(),
            wire.SCALING: self.scaling.to_json(),
        }
        return facts | ({wire.RATES: json.dumps(dict(self.rates))} if self.rates else {})

    def company_of(self, node_id: int) -> str:
        """The company whose node it is. Raises CompanyFailed when there is none."""
        for company, node in self.node_of.items():
            if node == node_id:
                return company
        raise CompanyFailed(
            f"A reply came from node {node_id}, which belongs to no company of this run."
        )

    def message(
        self,
        company: str,
        message_type: str,
        server_round: int,
        arrays: ArrayRecord,
    ) -> Message:
        """The message of this type to a company, with the briefing and these arrays.

        Messages share the bytes of arrays that they share.
        """
        briefing = self.briefing(company, server_round)
        content = RecordDict({wire.ARRAYS: arrays, wire.CONFIG: briefing})
        return Message(content, self.node_of[company], message_type)

    def replies_by_name(self, replies: list[Message], server_round: int) -> dict[str, RecordDict]:
        """The contents of the replies, in the order of the companies' names.

        Raises CompanyFailed when a reply is an error: nothing is averaged over the rest.
        """
        found: dict[str, RecordDict] = {}
        for reply in replies:
            company = self.company_of(reply.metadata.src_node_id)
            if reply.has_error():
                name, why = self.config.legal_name(company), reply.error.reason
                raise CompanyFailed(f"{name} failed in round {server_round}: {why}")
            found[company] = reply.content
        return dict(sorted(found.items()))


def to_record(arrays: Mapping[str, NDArray[np.floating]]) -> ArrayRecord:
    """The arrays as a record that Flower can send."""
    return ArrayRecord(
        {key: to_array([array], array.shape, str(array.dtype)) for key, array in arrays.items()}
    )


def to_array(parts: Iterable[NDArray[np.floating]], shape: tuple[int, ...], dtype: str) -> Array:
    """The Array whose numbers in row order are these parts, one after the other."""
    return Array(dtype, shape, "numpy.ndarray", wire.packed(parts, shape, dtype))


def to_numpy(record: ArrayRecord) -> dict[str, NDArray[np.floating]]:
    """The arrays of a record, as read-only views; what is on disk stays there."""
    return {
        key: array.numbers() if isinstance(array, SpooledArray) else wire.unpacked(array.data)
        for key, array in record.items()
    }
