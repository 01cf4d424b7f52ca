"""The teacher's strategy is tried before anything trains, on a tiny model and with all companies.

What it cannot do with these options, or with so many companies, shows here: companies answer as in
a run, but train nothing.
"""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_sv.config import Config
from fl_sv.data import Scaling
from fl_sv.errors import InputError, RunError
from fl_sv.flower import wire
from server.inline import InlineGrid
from strategies.flower import make_strategy
from strategies.roster import Roster, to_numpy, to_record
from strategies.teacher import TeacherStrategy

ROUNDS = 3  # at most: state such as momentum exists from the second round on
KEY, N_PARAMS = wire.stack_key("trial", 0), 4

app = ClientApp()


@app.train()
def answer(message: Message, context: Context) -> Message:
    """A company's reply: the model that it got, a little changed.

    The last parameter stays, as the weights of a unit that never fires do.
    """
    company = int(context.node_config[wire.PARTITION])
    ((key, params),) = to_numpy(message.content[wire.ARRAYS]).items()
    step = np.cos(np.arange(N_PARAMS) + company) / 100
    step[-1] = 0
    trained = (params + step).astype(params.dtype)
    metrics = {
        wire.NUM_EXAMPLES: 100 + company,
        wire.SECONDS: 0.01,
        wire.TRAIN_LOSS: 2 / (1 + company),
    }
    content = {wire.ARRAYS: to_record({key: trained}), wire.METRICS: MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


def try_strategy(config: Config, scaling: Scaling) -> None:
    """Some rounds of the config's strategy, with as many companies as there are.

    Raises InputError when the strategy cannot be made, fails, makes no usable model, or has a state
    that the journal cannot keep.
    """
    with (
        _quiet(),
        InlineGrid(app, range(config.n_companies), threads=config.compute.threads) as grid,
    ):
        node_of = dict(zip(config.companies, grid.get_node_ids(), strict=True))
        examples = {company: 100 + i for i, company in enumerate(config.companies)}
        roster = Roster(config, scaling, node_of, examples)
        strategy = TeacherStrategy(
            make_strategy(config), roster, KEY, N_PARAMS, config.compute.dtype
        )
        model = to_record({KEY: np.linspace(-0.1, 0.1, N_PARAMS).astype(config.compute.dtype)})
        try:
            for server_round in range(1, min(ROUNDS, config.training.rounds) + 1):
                messages = strategy.configure_train(server_round, model, ConfigRecord(), grid)
                replies = grid.send_and_receive(messages)
                gc.freeze()  # some strategies collect garbage for every reply: 0.15 s with torch
                made, _ = strategy.aggregate_train(server_round, replies)
                assert made is not None  # it raises instead
                model = made
        except (RunError, ValueError) as error:
            raise InputError(
                f"teacher.strategy: {config.teacher.strategy} was tried with"
                f" {config.n_companies} companies and options {config.teacher.options}, and failed:"
                f" {error}"
            ) from error
        strategy.state()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what Flower's strategies log, and undoes `gc.freeze` in the end."""
    log = logging.getLogger("flwr")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        gc.unfreeze()
        log.setLevel(before)
