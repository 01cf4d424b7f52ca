"""Large replies wait on disk for the others, are what was sent, and are averaged in blocks."""

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.federation.disk import small_disk
from clients.app import app as client_app
from fl_sv.config import parse_config
from fl_sv.data.dataset import Task
from fl_sv.data.scaling import Scaling
from fl_sv.errors import CompanyFailed, RunError
from fl_sv.flower import wire
from fl_sv.machine import LARGE_BYTES
from fl_sv.progress import Progress
from fl_sv.runs import arrays, journal
from fl_sv.runs.directory import start_or_resume
from fl_sv.runs.files import PAYOUTS, TEACHER, UTILITIES, VALUATION
from server.exchange import Federation
from server.inline import InlineGrid
from server.interleave import run_to_end
from server.simulation import simulate
from strategies import spool as spools
from strategies.mean import CACHE_NUMBERS, fedavg
from strategies.roster import Roster, to_array, to_numpy, to_record
from strategies.spool import SpooledArray, reader, spool
from tests.config_of import config_of
from tests.runs import SMALL_GAME

NODES = {"Ash": 2, "Beech": 3}
LARGE = LARGE_BYTES // 4 + 1  # numbers in float32


def content_of(array: NDArray) -> RecordDict:
    return RecordDict({wire.ARRAYS: to_record({"mlp-8/0": array})})


@settings(max_examples=20)
@given(
    shape=st.sampled_from([(1,), (7,), (3, 5), (1, 64)]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_an_array_on_disk_is_the_array_that_was_sent(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], dtype: str, seed: int
) -> None:
    array = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    sent, folder = Array(array), tmp_path_factory.mktemp("spool")
    kept = SpooledArray(sent, folder)
    assert (kept.data, kept.dtype, kept.shape) == (sent.data, sent.dtype, sent.shape)
    assert kept.numpy().tobytes() == kept.numbers().tobytes() == array.tobytes()
    assert kept.numbers().shape == shape
    for each in (sent, kept):
        part = reader(each)(array.size // 2, array.size)
        assert part.tobytes() == array.reshape(-1)[array.size // 2 :].tobytes()
    assert not [*folder.iterdir()]  # the file has no name


def test_only_a_large_reply_goes_to_disk() -> None:
    small, large = (content_of(np.zeros(n, np.float32)) for n in (LARGE // 2, LARGE))
    for content in (small, large):
        spool(content, None)
    (at_hand,), (on_disk,) = (each[wire.ARRAYS].values() for each in (small, large))
    assert not isinstance(at_hand, SpooledArray)
    assert isinstance(on_disk, SpooledArray)


@settings(max_examples=20)
@given(
    weights=st.lists(st.integers(1, 10**9), min_size=1, max_size=9),
    length=st.integers(1, 300),
    seed=st.integers(0, 99),
)
@example(weights=[24, 7, 16], length=3 * CACHE_NUMBERS + 1, seed=0)
def test_fedavg_in_blocks_is_flowers_fedavg_in_float64_to_every_bit(
    weights: list[int], length: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    shape = (len(weights), length)
    vectors = (generator.normal(size=shape) * 10.0 ** generator.integers(-9, 6, shape)).astype("f4")
    replies = [
        RecordDict(
            {
                wire.ARRAYS: ArrayRecord([vector.astype("f8")]),
                wire.METRICS: MetricRecord({wire.NUM_EXAMPLES: weight}),
            }
        )
        for vector, weight in zip(vectors, weights, strict=True)
    ]
    (by_flower,) = aggregate_arrayrecords(replies, wire.NUM_EXAMPLES).to_numpy_ndarrays()
    readers = [reader(Array(vector)) for vector in vectors]
    for dtype in ("float32", "float64"):
        ours = to_array(fedavg(readers, weights, length), (length,), dtype)
        assert ours.data == Array(by_flower.astype(dtype)).data


def federation_of(grid: InlineGrid, folder: Path) -> Federation:
    config = config_of({"source": "iris"}, companies=tuple(NODES))
    scaling = Scaling(task=Task(kind="regression", input_shape=(1,), n_outputs=1))
    roster = Roster(config, scaling, NODES, dict.fromkeys(NODES, 10))
    return Federation(grid, roster, threading.Event(), folder=folder)


def answer(message: Message, context: Context) -> Message:
    """A company's large reply: its node's number, everywhere."""
    trained = np.full(LARGE, context.node_id, np.float32)
    return Message(content_of(trained), reply_to=message)


def replies_in(folder: Path) -> dict[int, ArrayRecord]:
    with InlineGrid(answer, range(2), workers=2) as grid:  # type: ignore[arg-type]
        federation = federation_of(grid, folder)
        messages = [
            federation.roster.message(company, wire.COALITIONS, 1, to_record({"x": np.zeros(2)}))
            for company in NODES
        ]
        found = run_to_end(federation.exchange(messages, lambda *_: None, "a question"))
    return {reply.metadata.src_node_id: reply.content[wire.ARRAYS] for reply in found}


def test_every_large_reply_of_an_exchange_waits_in_the_folder_of_the_run(tmp_path: Path) -> None:
    records = replies_in(tmp_path)
    assert sorted(records) == sorted(NODES.values())
    for node_id, record in records.items():
        (array,) = record.values()
        assert isinstance(array, SpooledArray)
        (numbers,) = to_numpy(record).values()
        assert numbers.shape == (LARGE,) and np.all(numbers == node_id)
    assert not [*tmp_path.iterdir()]


def test_messages_and_replies_go_without_a_search_for_garbage_when_nobody_needs_them(
    tmp_path: Path,
) -> None:
    gc.disable()
    try:
        with InlineGrid(answer, range(2), workers=2) as grid:  # type: ignore[arg-type]
            federation = federation_of(grid, tmp_path)
            start = to_record({"x": np.zeros(2)})
            messages = [
                federation.roster.message(company, wire.COALITIONS, 1, start) for company in NODES
            ]
            sent = [weakref.ref(message.content) for message in messages]
            found = run_to_end(federation.exchange(messages, lambda *_: None, "a question"))
            received = [weakref.ref(reply.content) for reply in found]
        assert None not in [content() for content in sent + received]
        del messages, found
        assert [content() for content in sent + received] == [None] * 4
    finally:
        gc.enable()


def test_a_full_disk_is_a_sentence_with_the_folder_and_what_to_do(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk") as disk:
            with pytest.raises(RunError) as error:
                replies_in(disk)
            assert not [*disk.iterdir()]
    except PermissionError as reason:
        pytest.skip(str(reason))
    assert str(error.value) == (
        f"A company's reply cannot be written to {disk}: No space left on device. Make sure that"
        " the disk has space for a reply of every company and can be written, and continue with"
        " --resume."
    )


def company_that_fails_in_round_2(message: Message, context: Context) -> Message:
    """The companies, of which one is gone when the others' replies are on disk."""
    if message.metadata.message_type == wire.TEACHER:
        task = message.content[wire.CONFIG]
        if (task[wire.ROUND], task[wire.COMPANY]) == (2, "Beech"):
            raise RuntimeError("gone")
    return client_app(message, context)


def run(out: Path, companies: ClientApp, *, resume: bool = False) -> dict[str, bytes]:
    """The files of a run whose content does not depend on the machine."""
    config = parse_config(f"{SMALL_GAME}faults: {{retries: 0}}", "game")
    with start_or_resume(out, config, resume=resume) as directory:
        simulate(config, directory, "inline", Progress("quiet"), threading.Event(), companies)
    return {name: (out / name).read_bytes() for name in (TEACHER, UTILITIES, VALUATION, PAYOUTS)}


def test_run_that_stops_with_replies_on_disk_resumes_to_the_bytes_of_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(tmp_path / "undisturbed", client_app)
    for module in (spools, arrays, journal):
        monkeypatch.setattr(module, "LARGE_BYTES", 0)  # every reply and every model is large
    out = tmp_path / "run"
    with pytest.raises(CompanyFailed, match="Beech failed in round 2"):
        run(out, company_that_fails_in_round_2)  # type: ignore[arg-type]
    assert run(out, client_app, resume=True) == undisturbed
    names = {path.name for path in (tmp_path / "undisturbed").iterdir()}
    assert {path.name for path in out.iterdir()} == names | {"journal.arrays"}
    assert len([*(out / "journal.arrays").iterdir()]) == 2  # of the teacher and its strategy
