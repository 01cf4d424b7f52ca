"""Rounds of a large teacher: where the seconds go, and the memory of server and companies.

    python -m benchmarks.large_messages [--huge] [--strategy NAME] [--rounds N] [--json]

The game is configs/large.yaml: 8 companies, a teacher of 68 million parameters, 271 MB a message;
with --huge one of 300 million, 1.2 GB a message. The server is this process. As many companies as
there are cores train side by side, each in a process of its own, and get their messages by a pipe.

Seconds of parts are those of a core, so a busy machine does not change them; what waits for the
disk is not in them. A copy is as many bytes as the model has in a message. What a process holds is
its peak of resident memory, less what it held before the first round.
"""

import argparse
import functools
import json
import logging
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import psutil
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from benchmarks.common.command_line import REPOSITORY
from benchmarks.common.machine import machine_text
from benchmarks.common.markdown import table
from fl_sv.config import Config
from fl_sv.flower import schema, wire
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.progress import Progress
from fl_sv.runs.journal import Journal
from fl_sv.training.scoring import ValidationSet
from server import exchange
from server.inline import InlineGrid
from server.job import open_job
from server.teacher import train_teacher
from strategies.teacher import TeacherStrategy

HUGE = [16_384, 16_384, 1_860]  # units of the layers: 300,011,510 parameters
PARTS_OF_SERVER = ("check", "to disk", "average", "score", "journal", "messages")
PARTS_OF_COMPANIES = ("check, received", "loss, received", "train", "reply")


class Side(NamedTuple):
    """What a process took for all rounds: a core's seconds by part and in all, and memory."""

    seconds: dict[str, float]
    cpu: float
    held: int  # bytes


class Found(NamedTuple):
    """One measurement, of all its rounds together."""

    rounds: int
    model: int  # bytes of a message
    wall: float
    server: Side
    companies: list[Side]  # by process
    load: float  # of the machine, meanwhile


# --- seconds and bytes ----------------------------------------------------------------------------


def timed(seconds: Counter[str], part: str, owner: Any, name: str) -> None:
    """Counts a core's seconds for a function or method of `owner` under the name of a part."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def counted(*arguments: Any, **options: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            seconds[part] += time.thread_time() - started

    setattr(owner, name, counted)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(psutil.Process().memory_info().rss)


def forget_peak() -> int:
    """Begins to look for the peak anew (on Linux); returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident()


def peak() -> int:
    """The most bytes of this process that were in memory since then."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


# --- messages by pipe -----------------------------------------------------------------------------

KINDS = {kind.__name__: kind for kind in (ConfigRecord, MetricRecord)}


def send(pipe: Connection, kind: str, node_id: int, content: RecordDict) -> None:
    """Sends a message's content without a copy of its arrays."""
    arrays, records = [], []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            arrays += [(name, key, a.dtype, a.shape, a.stype) for key, a in record.items()]
        else:
            records.append((name, type(record).__name__, dict(record)))
    pipe.send((kind, node_id, arrays, records))
    for name, key, *_ in arrays:
        pipe.send_bytes(content[name][key].data)


def received(pipe: Connection) -> tuple[str, int, RecordDict]:
    """What `send` sent: the message's type, its node and its content."""
    kind, node_id, arrays, records = pipe.recv()
    content = RecordDict({name: KINDS[kind](values) for name, kind, values in records})
    for name, key, dtype, shape, stype in arrays:
        record = ArrayRecord()  # the messages of a teacher hold one array
        record[key] = Array(dtype, shape, stype, pipe.recv_bytes())
        content[name] = record
    return kind, node_id, content


# --- the two sides --------------------------------------------------------------------------------


def play_companies(config: Config, pipe: Connection) -> None:
    """A process that answers for any company until it is told to end."""
    from clients import app, company

    use_threads(config.compute.threads)
    keep_freed_memory()
    seconds: Counter[str] = Counter()
    timed(seconds, "check, received", app.schema, "check_instruction")
    timed(seconds, "loss, received", company.Company, "loss")
    timed(seconds, "train", company.Company, "train_round")
    timed(seconds, "reply", app, "_reply")
    before, cpu = 0, 0.0
    with InlineGrid(app.app, range(config.n_companies)) as grid:
        while True:
            kind, node_id, content = received(pipe)
            if not kind:
                pipe.send(Side(dict(seconds), time.process_time() - cpu, peak() - before))
                return
            messages = [Message(content, node_id, kind)]
            del content
            (reply,) = grid.send_and_receive(messages)
            del messages
            send(pipe, kind, node_id, reply.content)
            del reply
            if kind == wire.REGISTER:
                before, cpu = forget_peak(), time.process_time()


def measure(config: Config) -> Found:
    """Trains the teacher of the config from its first round to its last."""
    seconds: Counter[str] = Counter()
    spawn = get_context("spawn")
    free: SimpleQueue[Connection] = SimpleQueue()
    pipes = []
    for _ in range(config.compute.at_once):
        ours, theirs = spawn.Pipe()
        spawn.Process(target=play_companies, args=(config, theirs), daemon=True).start()
        free.put(ours)
        pipes.append(ours)

    one_at_a_time = threading.Lock()  # replies, as a server pulls them from a SuperLink

    def forward(message: Message, _: Context) -> Message:
        pipe = free.get()
        try:
            metadata = message.metadata
            send(pipe, metadata.message_type, metadata.dst_node_id, message.content)
            pipe.poll(None)
            with one_at_a_time:
                return Message(received(pipe)[2], reply_to=message)
        finally:
            free.put(pipe)

    use_threads(config.compute.threads)
    keep_freed_memory()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / "journal.sqlite")) as journal,
        InlineGrid(forward, range(config.n_companies), len(pipes)) as grid,  # type: ignore[arg-type]
    ):
        job = open_job(config, journal, grid, Progress("quiet"), threading.Event())
        timed(seconds, "check", schema, "check_reply")
        timed(seconds, "to disk", exchange, "spool")
        timed(seconds, "average", TeacherStrategy, "aggregate_train")
        timed(seconds, "messages", TeacherStrategy, "configure_train")
        timed(seconds, "score", ValidationSet, "means")
        timed(seconds, "journal", Journal, "add_teacher_round")
        before, started, cpu = forget_peak(), time.perf_counter(), time.process_time()
        train_teacher(job)
        wall = time.perf_counter() - started
        server = Side(dict(seconds), time.process_time() - cpu, peak() - before)
        companies = []
        for pipe in pipes:
            send(pipe, "", 0, RecordDict())
            companies.append(pipe.recv())
        model = job.large.n_params * np.dtype(config.compute.dtype).itemsize
    return Found(config.training.rounds, model, wall, server, companies, os.getloadavg()[0])


def report(found: Found) -> str:
    """Two tables: seconds of a round, and copies of the model."""
    workers = len(found.companies)
    of_companies: Counter[str] = Counter()
    for side in found.companies:
        of_companies.update(side.seconds)
    cpu = found.server.cpu + sum(side.cpu for side in found.companies)
    rows = [
        ["a round, by the clock", f"{found.wall / found.rounds:.1f}"],
        [
            "all processes, of each core",
            f"{cpu / workers / found.rounds:.1f}",
        ],
        *(
            [
                f"companies, {workers} at a time: {part}",
                f"{of_companies[part] / workers / found.rounds:.2f}",
            ]
            for part in PARTS_OF_COMPANIES
        ),
        *(
            [f"server: {part}", f"{found.server.seconds.get(part, 0) / found.rounds:.2f}"]
            for part in PARTS_OF_SERVER
        ),
    ]
    held = {"server": found.server.held, "a company": max(each.held for each in found.companies)}
    memory = [
        [name, f"{size / 1e6:,.0f}", f"{size / found.model:.2f}"] for name, size in held.items()
    ]
    return "\n\n".join(
        [
            f"{machine_text()}, load {found.load:.1f}; {found.model / 1e6:,.0f} MB a message,"
            f" {found.rounds} rounds and the untrained model",
            table(["part", "seconds"], rows),
            table(["process", "peak, MB", "copies of the model"], memory),
        ]
    )


def game(hidden: list[int] | None, rounds: int, strategy: str) -> Config:
    """configs/large.yaml with few rounds."""
    text = yaml.safe_load((REPOSITORY / "configs" / "large.yaml").read_text(encoding="utf-8"))
    if hidden:
        text["models"]["large"]["hidden"] = hidden
    text["training"]["rounds"] = rounds
    text["teacher"] = {"strategy": strategy}
    return Config.model_validate(text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Rounds of a large teacher, measured.")
    parser.add_argument("--huge", action="store_true", help="300 million parameters, one round")
    parser.add_argument("--strategy", default="fedavg", help="of the teacher")
    parser.add_argument("--rounds", type=int, help="2 without it, 1 with --huge")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    rounds = options.rounds or (1 if options.huge else 2)
    found = measure(game(HUGE if options.huge else None, rounds, options.strategy))
    print(json.dumps(found._asdict()) if options.json else report(found))


if __name__ == "__main__":
    main()
