"""The teacher's strategy: any Flower Strategy, made strict and exact.

Flower averages the replies that came, in their order of arrival, in the precision of the messages.
Here

- every company must reply with finite parameters of the right shape,
- the replies are put in the order of the companies' names,
- the inner strategy works in float64, with the numbers of examples registered before the run.
"""

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl_sv.errors import InputError, RunError
from fl_sv.flower import schema, wire
from fl_sv.plugins import ANY_ERROR
from strategies.roster import Roster, to_numpy, to_record


class TeacherStrategy(Strategy):
    """Wraps `inner`, whose one array is a model's flat vector of parameters.

    key: the name of the array; n_params: its length; dtype: numpy's name of its type in messages.
    """

    def __init__(
        self, inner: Strategy, roster: Roster, key: str, n_params: int, dtype: str
    ) -> None:
        self.inner = inner
        self.roster = roster
        self.shapes = {key: (n_params,)}
        self.dtype = dtype

    def summary(self) -> None:
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, each with the briefing of its company."""
        exact = _as_type(arrays, "float64")
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

        Raises CompanyFailed when a reply is an error, ValueError when it holds no model, RunError
        when the inner strategy fails, makes no model, or one of other shapes or not finite.
        """
        replies = list(replies)
        contents = self.roster.replies_by_name(replies, server_round)
        reply_of = {self.roster.company_of(reply.metadata.src_node_id): reply for reply in replies}
        exact: list[Message] = []
        for company, content in contents.items():
            self.check_reply(company, content)
            exact.append(self._exact(reply_of[company], company))
        with self._sentence(server_round):
            arrays, metrics = self.inner.aggregate_train(server_round, exact)
            model = None if arrays is None else _as_type(arrays, self.dtype)
        if model is None:
            raise RunError(
                f"{self._name} made no model of {len(exact)} replies in round {server_round}."
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
        converted = {key: _as_type(record, self.dtype) for key, record in records.items()}
        briefed = []
        for message in messages:
            node_id = message.metadata.dst_node_id
            company = self.roster.company_of(node_id)
            arrays = converted[id(message.content[wire.ARRAYS])]
            briefing = self.roster.briefing(company, server_round)
            content = RecordDict({wire.ARRAYS: arrays, wire.CONFIG: briefing})
            briefed.append(Message(content, node_id, message.metadata.message_type))
        return briefed

    def _exact(self, reply: Message, company: str) -> Message:
        """The reply in float64, with the number of examples that the company registered."""
        metrics = dict(reply.content[wire.METRICS])
        metrics[wire.NUM_EXAMPLES] = self.roster.examples[company]
        arrays = _as_type(reply.content[wire.ARRAYS], "float64")
        content = RecordDict({wire.ARRAYS: arrays, wire.METRICS: MetricRecord(metrics)})
        copy = Message(content, reply_to=reply)
        copy.metadata.__dict__.update(reply.metadata.__dict__)
        return copy


def _as_type(arrays: ArrayRecord, dtype: str) -> ArrayRecord:
    # A user's strategy may make arrays of any type, so Flower reads them.
    return to_record({key: array.numpy().astype(dtype) for key, array in arrays.items()})
