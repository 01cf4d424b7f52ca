"""The ClientApp of a company: it registers, trains models on its own rows, and reports counts.

Rows never leave the company. What leaves it: trained parameters, the number of examples, a
fingerprint of the data set, mean losses and seconds; of an error only its kind. See
docs/threat-model.md.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from clients.company import Arrays, Company, Floats, Identity, LoadedCompanies, load_company
from clients.signatures import is_simulated, other_contract, refusal, signed
from fl_sv.config import Config
from fl_sv.config.models import parse_rates
from fl_sv.config.redact import BASES, with_bases
from fl_sv.data import Scaling, SharedRows, shared_rows
from fl_sv.errors import RunError
from fl_sv.federation.kit import read_joined
from fl_sv.flower import schema, wire
from fl_sv.flower.contract import contract_of
from fl_sv.machine import library_hash


def check_instruction(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """A Flower mod: an instruction is checked before anything of it is used.

    Who wrote it is known by now.
    """
    with _refusing():
        schema.check_instruction(message.metadata.message_type, message.content)
    return answer(message, context)


def check_agreement(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """A Flower mod: what an instruction is about is what the company agreed to when it joined.

    The config names modules and functions that its node imports and calls.
    """
    if not is_simulated(context.node_config):
        joined = read_joined(Path(str(context.node_config[wire.KIT])))
        name = message.content[wire.CONFIG][wire.COMPANY]
        if name != joined.company:
            raise refusal(f"it names {name!r}, and this is the node of {joined.company}")
        if contract_of(_config(message)) != joined.contract:
            raise refusal(other_contract(joined.company))
    return answer(message, context)


@contextmanager
def _refusing() -> Iterator[None]:
    """A context that reads an instruction and nothing else: what is wrong with it may be told."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise refusal(str(error)) from None


app = ClientApp(mods=[signed, check_instruction, check_agreement])
loaded_companies = LoadedCompanies()


@app.query("register")
def register(message: Message, context: Context) -> Message:
    """The company's name, number of examples and fingerprint; hashes of library and bases."""
    company = _company(message, context)
    facts = {
        wire.COMPANY: company.name,
        wire.FINGERPRINT: company.fingerprint,
        wire.LIBRARY: library_hash(),
        wire.BASES: company.bases,
    }
    metrics = MetricRecord({wire.NUM_EXAMPLES: company.n_examples})
    return Message(
        RecordDict({wire.CONFIG: ConfigRecord(facts), wire.METRICS: metrics}),
        reply_to=message,
    )


@app.train()
def train_teacher(message: Message, context: Context) -> Message:
    """One round of the large model.

    The reply also has the loss of the model that was received: some strategies weight companies by
    it.
    """
    company = _company(message, context)
    ((key, params),) = _arrays(message, company).items()
    started = time.perf_counter()
    loss = company.loss(key, params)
    trained = company.train_round({key: params[None]}, _round(message))
    return _reply(message, company, {key: trained[key][0]}, started, {wire.TRAIN_LOSS: loss})


@app.train("singleton")
def train_singleton(message: Message, context: Context) -> Message:
    """All rounds of the large model on only this company's rows, for one message."""
    company = _company(message, context)
    started = time.perf_counter()
    trained = company.train_all_rounds(_arrays(message, company))
    return _reply(message, company, trained, started, {})


@app.train("coalitions")
def train_coalitions(message: Message, context: Context) -> Message:
    """One round of all coalitions of a wave with this company: of small models, or large runs."""
    company = _company(message, context)
    stacks = _arrays(message, company)
    started = time.perf_counter()
    has_students = any(map(company.is_student, stacks))
    logits = _teacher_logits(company, context) if has_students else None
    trained = company.train_round(stacks, _round(message), logits)
    return _reply(message, company, trained, started, {})


@app.query("teacher_logits")
def compute_teacher_logits(message: Message, context: Context) -> Message:
    """The finished teacher's logits on every row, once; they stay in the state of this node.

    The company's students learn from them.
    """
    company = _company(message, context)
    started = time.perf_counter()
    ((key, params),) = _arrays(message, company).items()
    logits = company.teacher_logits(key, params)
    context.state[wire.LOGITS] = ArrayRecord({wire.LOGITS: _packed(logits)})
    metrics = {
        wire.NUM_EXAMPLES: company.n_examples,
        wire.SECONDS: time.perf_counter() - started,
    }
    return Message(RecordDict({wire.METRICS: MetricRecord(metrics)}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """The loss of a model on the company's rows. It is reported and never scores a coalition."""
    company = _company(message, context)
    ((key, params),) = _arrays(message, company).items()
    metrics = {wire.NUM_EXAMPLES: company.n_examples, wire.LOSS: company.loss(key, params)}
    return Message(RecordDict({wire.METRICS: MetricRecord(metrics)}), reply_to=message)


def _company(message: Message, context: Context) -> Company:
    """The company that this message is for.

    The server names it. A real node was registered under that name. A simulated node has no name
    before it registers: it plays the company whose number is its partition.
    """
    task, node = message.content[wire.CONFIG], context.node_config
    path = node.get(wire.DATA_PATH)
    data_path = None if path is None else str(path)
    name = str(task[wire.COMPANY])
    if not name:
        with _refusing():
            name = _config(message).companies[int(node[wire.PARTITION])]

    def scaling() -> Scaling:
        with _refusing():
            found = Scaling.from_json(str(task[wire.SCALING]))
            found.require_sound()
        return found

    def read() -> SharedRows | None:
        return shared_rows(_own_config(message, context), scaling(), data_path)

    def load(shared: SharedRows | None) -> Company:
        config = _own_config(message, context)
        with _refusing():
            if name not in config.companies:
                raise ValueError(f"there is no company {name!r} in this run")
        return load_company(name, config, scaling(), data_path, shared)

    company = loaded_companies.get(Identity(context.run_id, name, data_path), read, load)
    with _refusing():
        rates = parse_rates(str(task.get(wire.RATES, "{}")))
    return company.at(rates)


def _config(message: Message) -> Config:
    with _refusing():
        return Config.model_validate_json(str(message.content[wire.CONFIG][wire.RUN_CONFIG]))


def _own_config(message: Message, context: Context) -> Config:
    """The config with this company's own pretrained bases in it."""
    config, node = _config(message), context.node_config
    if wire.BASES_PATH in node:
        return with_bases(config, str(node[wire.BASES_PATH]))
    if is_simulated(node):
        return config
    return with_bases(config, Path(str(node[wire.KIT])) / BASES)


def _teacher_logits(company: Company, context: Context) -> Floats:
    """The teacher's logits (n, K) on the company's rows, from the state of the node.

    Raises RunError when the node has lost its state, as by a restart.
    """
    if wire.LOGITS not in context.state.array_records:
        raise RunError(
            f"{company.name} has no logits of the finished teacher: its node was started again"
            " since it computed them. Continue with --resume."
        )
    return wire.unpacked(context.state.array_records[wire.LOGITS][wire.LOGITS].data)


def _arrays(message: Message, company: Company) -> Arrays:
    """The models in a message. Raises Withheld when they are not models of this run."""
    arrays = {key: wire.unpacked(array.data) for key, array in message.content[wire.ARRAYS].items()}
    with _refusing():
        company.check(arrays)
    return arrays


def _packed(array: Floats) -> Array:
    dtype = str(array.dtype)
    return Array(dtype, array.shape, "numpy.ndarray", wire.packed([array], array.shape, dtype))


def _round(message: Message) -> int:
    return int(message.content[wire.CONFIG][wire.ROUND])


def _reply(
    message: Message, company: Company, arrays: Arrays, started: float, extra: dict[str, float]
) -> Message:
    metrics = {
        wire.NUM_EXAMPLES: company.n_examples,
        wire.SECONDS: time.perf_counter() - started,
        **extra,
    }
    record = ArrayRecord({key: _packed(array) for key, array in arrays.items()})
    content = RecordDict({wire.ARRAYS: record, wire.METRICS: MetricRecord(metrics)})
    return Message(content, reply_to=message)
