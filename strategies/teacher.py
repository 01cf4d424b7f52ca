"""The teacher's strategy: any Flower Strategy, made strict and exact.

Flower averages the replies that came, in their order of arrival, in the precision of the messages.
Here

- every company must reply with finite parameters of the right shape,
- the replies are put in the order of the companies' names,
- the inner strategy works in float64, with the weights that follow from the examples registered
  before the run.

FedAvg, whose teacher may be large, is computed here block by block: its mean is Flower's to every
bit. Other strategies get all replies in memory.
"""

import gc
import math
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedProx, Strategy

from fl_sv.errors import InputError, RunError
from fl_sv.flower import schema, wire
from fl_sv.machine import LARGE_BYTES
from fl_sv.plugins import ANY_ERROR
from fl_sv.training.pairs import Pair
from strategies.mean import fedavg
from strategies.roster import Roster, to_array, to_numpy, to_record
from strategies.spool import reader


class TeacherStrategy(Strategy):
    """Wraps `inner`, whose one array is a model's flat vector of parameters.

    key: the name of the array; n_params: its length; dtype: numpy's name of its type in messages.
    pairs: the adapters of which the products are averaged, which only FedAvg and FedProx do.
    """

    def __init__(
        self,
        inner: Strategy,
        roster: Roster,
        key: str,
        n_params: int,
        dtype: str,
        pairs: Sequence[Pair] = (),
    ) -> None:
        self.inner = inner
        self.roster = roster
        self.shapes = {key: (n_params,)}
        self.dtype = dtype
        self.pairs = pairs

    def summary(self) -> None:
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, each with the briefing of its company."""
        exact = arrays if self._is_fedavg else _as_type(arrays, "float64")
        with self._sentence(server_round):
            messages = list(self.inner.configure_train(server_round, exact, config, grid))
            return self._with_briefing(messages, server_round)

    def check_reply(self, company: str, content: RecordDict) -> None:
        """Raises ValueError when a company's reply cannot be aggregated."""
        schema.check_reply(wire.TEACHER, content, self.shapes, self.dtype)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new model and the metrics that the inner strategy makes of all replies.

        replies: that passed `check_reply`.

        Raises CompanyFailed when a reply is an error, RunError when the inner strategy fails, makes
        no model, or one of other shapes or not finite.
        """
        replies = list(replies)
        contents = self.roster.replies_by_name(replies, server_round)
        with self._sentence(server_round):
            if self._is_fedavg:
                model, metrics = self._fedavg(contents)
            else:
                model, metrics = self.inner.aggregate_train(server_round, self._exact(replies))
                model = None if model is None else _as_type(model, self.dtype)
                if sum(map(math.prod, self.shapes.values())) * 8 > LARGE_BYTES:
                    gc.collect()  # Flower's records refer to themselves, and hold all replies
        if model is None:
            raise RunError(
                f"{self._name} made no model of {len(replies)} replies in round {server_round}."
            )
        made = to_numpy(model)
        shapes = {key: array.shape for key, array in made.items()}
        if shapes != self.shapes:
            raise RunError(
                f"{self._name} made arrays of the shapes {shapes} in round {server_round}; the"
                f" model has {self.shapes}."
            )
        if not all(map(schema.is_bounded, made.values())):
            raise RunError(
                f"{self._name} made NaN or infinite parameters in round {server_round}, or some"
                f" beyond {schema.MOST_PARAMETER:g}. Lower training.learning_rate or the strategy's"
                " own step size."
            )
        return model, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        messages = list(self.inner.configure_evaluate(server_round, arrays, config, grid))
        return self._with_briefing(messages, server_round)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        return self.inner.aggregate_evaluate(server_round, list(replies))

    @property
    def _is_fedavg(self) -> bool:
        """Whether Flower's own FedAvg aggregates: FedProx does so, and tells companies its mu."""
        return (
            type(self.inner) in (FedAvg, FedProx)
            and vars(self.inner)["weighted_by_key"] == wire.NUM_EXAMPLES
        )

    def _fedavg(
        self, contents: Mapping[str, RecordDict]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What FedAvg makes of the replies in float64, to every bit, without copies of them."""
        assert isinstance(self.inner, FedAvg)
        if not contents:
            return None, None
        weights = [self.roster.weights[company] for company in contents]
        record = ArrayRecord()
        for key, shape in self.shapes.items():
            readers = [reader(content[wire.ARRAYS][key]) for content in contents.values()]
            (length,) = shape
            record[key] = to_array(fedavg(readers, weights, length, self.pairs), shape, self.dtype)
        metrics = [
            RecordDict({wire.METRICS: self._metrics(content, company)})
            for company, content in contents.items()
        ]
        return record, self.inner.train_metrics_aggr_fn(metrics, self.inner.weighted_by_key)

    @property
    def _name(self) -> str:
        return type(self.inner).__name__

    @contextmanager
    def _sentence(self, server_round: int) -> Iterator[None]:
        """Turns whatever the inner strategy raises into a RunError."""
        try:
            yield
        except ANY_ERROR as error:
            raise RunError(
                f"{self._name} raised {type(error).__name__} in round {server_round}: {error}"
            ) from error

    # --- the journal's view -----------------------------------------------------------------------

    def state(self) -> bytes:
        """The inner strategy's own state, such as the moments of FedAdam.

        A resumed run goes on from it. Raises InputError when the state of a plug-in cannot be
        stored.
        """
        try:
            return pickle.dumps(vars(self.inner))
        except Exception as error:
            raise InputError(
                f"teacher.strategy: the state of {type(self.inner).__name__} cannot be stored for"
                f" --resume: {error}. Keep only arrays, numbers and named functions in its"
                " attributes."
            ) from error

    def restore(self, state: bytes) -> None:
        """Puts the inner strategy into the state that `state` returned."""
        vars(self.inner).update(pickle.loads(state))

    # --- messages ---------------------------------------------------------------------------------

    def _with_briefing(self, messages: list[Message], server_round: int) -> list[Message]:
        """The messages in the type in which parameters travel, with their companies' briefings."""
        # Most strategies send one record to all companies. It is converted once: for each company
        # anew, that would take longer than the model's training.
        records = {
            id(message.content[wire.ARRAYS]): message.content[wire.ARRAYS] for message in messages
        }
        if not self._is_fedavg:
            records = {key: _as_type(record, self.dtype) for key, record in records.items()}
        briefed = []
        for message in messages:
            node_id = message.metadata.dst_node_id
            company = self.roster.company_of(node_id)
            arrays = records[id(message.content[wire.ARRAYS])]
            briefing = self.roster.briefing(company, server_round)
            content = RecordDict({wire.ARRAYS: arrays, wire.CONFIG: briefing})
            briefed.append(Message(content, node_id, message.metadata.message_type))
        return briefed

    def _metrics(self, content: RecordDict, company: str) -> MetricRecord:
        """A reply's metrics, in which the number of examples is what the company weighs."""
        weight = {wire.NUM_EXAMPLES: self.roster.weights[company]}
        return MetricRecord({**content[wire.METRICS], **weight})

    def _exact(self, replies: Iterable[Message]) -> list[Message]:
        """The replies in float64 and in the order of the companies' names, with the
        companies' weights.
        """
        exact: dict[str, Message] = {}
        for reply in replies:
            company = self.roster.company_of(reply.metadata.src_node_id)
            numbers = to_numpy(reply.content[wire.ARRAYS])
            arrays = to_record({key: array.astype("float64") for key, array in numbers.items()})
            metrics = self._metrics(reply.content, company)
            content = RecordDict({wire.ARRAYS: arrays, wire.METRICS: metrics})
            exact[company] = Message(content, reply_to=reply)
            exact[company].metadata.__dict__.update(reply.metadata.__dict__)
        return [message for _, message in sorted(exact.items())]


def _as_type(arrays: ArrayRecord, dtype: str) -> ArrayRecord:
    # A user's strategy may make arrays of any type, so Flower reads them.
    return to_record({key: array.numpy().astype(dtype) for key, array in arrays.items()})
