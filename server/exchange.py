"""The exchange of messages with the companies, with retries.

Flower averages the replies that it gets. Here every message needs a usable reply. Without one it is
sent again, `faults.retries` times. Then the run stops with an error that names the company.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl_sv.config import Config, for_companies
from fl_sv.data import OperatorData
from fl_sv.errors import CompanyFailed, InputError, Interrupted, WorkerDied, listed
from fl_sv.flower import wire
from fl_sv.machine import library_hash
from server.interleave import Work, run_to_end
from server.meter import Traffic
from strategies.roster import Roster, check_metrics

# Raises ValueError when the content of a company's reply is not usable.
ReplyCheck = Callable[[str, RecordDict], None]

# --- seconds --------------------------------------------------------------------------------------

# Between two looks for replies. Flower's own grids wait 0.1 s (simulation) and 3 s (HTTP).
POLL_SECONDS = 0.02
# The same for a real federation: a look is a request to the SuperLink, and a SuperNode takes
# seconds for a message.
REMOTE_POLL_SECONDS = 0.5
# Until all companies of a federation are there.
JOIN_SECONDS = 60.0
# The same for simulated nodes, since the last one came. They register within milliseconds, but the
# machine may be busy.
SIMULATED_JOIN_SECONDS = 20.0
# At least this long for the first reply: Ray's actors, or a company's process, start meanwhile.
FIRST_REPLY_SECONDS = 600.0
# Until a node that went away is back: a killed SuperNode is refused for 60 s, and a supervisor
# starts it every 20 s.
REJOIN_SECONDS = 180.0
# Between two looks for nodes that were started again.
RESTART_LOOK_SECONDS = 10.0

# --- what Flower and Ray call things --------------------------------------------------------------

# Flower's code for a node that went offline with the message.
NODE_UNAVAILABLE = 5
# Flower's code for any other error than the app's exception; in a simulation a dead actor.
UNKNOWN_ERROR = 0
# How the public key of a SuperNode begins. A simulated node's are random bytes, or none.
REAL_KEY = b"-----BEGIN PUBLIC KEY-----"
ACTOR_DEATHS = (
    "ActorDiedError",
    "ActorUnavailableError",
    "RayActorError",
    "WorkerCrashedError",
    "OutOfMemoryError",
)


@dataclass
class Federation:
    """A grid, the companies behind it, and the rules for retries."""

    grid: Grid
    roster: Roster
    stop: threading.Event  # set to interrupt the run
    poll_seconds: float = POLL_SECONDS
    traffic: Traffic = field(default_factory=Traffic)
    # Messages for whose replies nobody waits any more: they timed out, or were sent again.
    late: set[str] = field(default_factory=set)

    def telling(self, rates: Mapping[str, float]) -> "Federation":
        """The same federation, whose messages tell these learning rates, by the models' names."""
        return replace(self, roster=replace(self.roster, rates=rates))

    def exchange(
        self,
        messages: Iterable[Message],
        check: ReplyCheck,
        what: str,
        on_reply: Callable[[str], None] = lambda company: None,
        before_retry: Callable[[Collection[str]], None] = lambda companies: None,
        least_seconds: float = 0.0,
    ) -> Work[list[Message]]:
        """The usable reply to every message, in no particular order.

        It yields when messages are on their way; `server.interleave` drives it. A reply is usable
        when it is no error and `check(company, content)` raises no ValueError.

        what: the work, as error messages name it.
        on_reply: called once for each usable reply, with the company.
        before_retry: called with the companies to which messages are about to be sent again.
        least_seconds: the shortest timeout, even if the config states a shorter one.

        Raises CompanyFailed when a company fails in every try, WorkerDied when the simulation lost
        an actor, Interrupted when the run is to stop.
        """
        pending = {
            self.roster.company_of(message.metadata.dst_node_id): message for message in messages
        }
        usable: list[Message] = []
        faults = self.roster.config.faults
        for attempt in range(faults.retries + 1):
            if attempt > 0:
                self._wait_until_online(pending)
                before_retry(pending)
            replies = yield from self._send(pending, max(faults.timeout_seconds, least_seconds))
            problems: dict[str, str] = {}
            for company in pending:
                problem = self._problem(company, replies.get(company), check)
                if problem is None:
                    self.traffic.count(replies[company].content)
                    usable.append(replies[company])
                    on_reply(company)
                else:
                    problems[company] = problem
                    if company in replies and not replies[company].has_error():
                        self.traffic.count_bytes(replies[company].content)
            if not problems:
                return usable
            pending = {company: _again(pending[company]) for company in problems}
        raise self._failed(problems, what)

    def _failed(self, problems: dict[str, str], what: str) -> CompanyFailed:
        """The exception for companies that failed in every try; problems: by company."""
        company, problem = next(iter(problems.items()))
        others = sorted(set(problems) - {company})
        also = f" So did {listed(others)}." if others else ""
        tries = self.roster.config.faults.retries + 1
        return CompanyFailed(
            f"{company} failed in {what}, {tries} times: {problem}.{also} Nothing was averaged over"
            " the rest. Correct the fault there and continue with --resume; the journal has what"
            " was finished."
        )

    def _send(self, messages: dict[str, Message], timeout: float) -> Work[dict[str, Message]]:
        """The replies by company, without those that are lost or take more than `timeout` seconds.

        The time begins when the server waits for the replies, since a company may have to answer
        the message of another wave first.

        A node that is killed and started again between two looks never seems offline, and Flower
        loses its message. Such a node has a new time of activation. The server then stops waiting
        for its reply. The next try sends the message again, after all others have been answered or
        timed out.

        A reply that comes later is dropped: every try is a message of its own, and only its own
        reply answers it.
        """
        if self.stop.is_set():
            raise Interrupted("The run was interrupted.")
        self._drop_late_replies()
        for message in messages.values():
            self.traffic.count(message.content)
        activated = self._activations()
        pushed = self.grid.push_messages(messages.values())
        waiting = dict(zip(pushed, messages, strict=True))
        replies: dict[str, Message] = {}
        yield
        deadline = time.monotonic() + timeout
        next_look = time.monotonic() + RESTART_LOOK_SECONDS
        while waiting and time.monotonic() < deadline:
            restarted: set[int] = set()
            # Before the replies are pulled: a reply from before the restart is among them.
            if time.monotonic() > next_look:
                restarted = {
                    node
                    for node, since in self._activations().items()
                    if activated.get(node, since) != since
                }
                next_look = time.monotonic() + RESTART_LOOK_SECONDS
            for reply in self.grid.pull_messages(list(waiting)):
                replies[waiting.pop(reply.metadata.reply_to_message_id)] = reply
            for key, name in list(waiting.items()):
                if self.roster.node_of[name] in restarted:
                    self.late.add(key)
                    del waiting[key]
            if waiting:
                self._drop_late_replies()
                _pause(self.stop, self.poll_seconds)
        self.late.update(waiting)
        return replies

    def _drop_late_replies(self) -> None:
        """Takes late replies off the grid, which would keep them, parameters and all."""
        if self.late:
            replies = self.grid.pull_messages(list(self.late))
            self.late.difference_update(reply.metadata.reply_to_message_id for reply in replies)

    def _activations(self) -> dict[int, str]:
        """The time at which each node that is online was activated."""
        return {node.node_id: node.last_activated_at for node in self.grid.get_nodes()}

    def _wait_until_online(self, companies: Iterable[str]) -> None:
        """Waits until lost nodes are back online: their supervisors start them again."""
        wanted = {self.roster.node_of[company] for company in companies}
        deadline = time.monotonic() + REJOIN_SECONDS
        while wanted - set(self.grid.get_node_ids()) and time.monotonic() < deadline:
            _pause(self.stop, self.poll_seconds)

    def _problem(self, company: str, reply: Message | None, check: ReplyCheck) -> str | None:
        """Why the reply is not usable; None when it is."""
        if reply is None:
            return "no reply came in time, or its node was started again meanwhile"
        if reply.has_error():
            reason = reply.error.reason or f"error {reply.error.code}"
            if reply.error.code == UNKNOWN_ERROR and any(death in reason for death in ACTOR_DEATHS):
                raise WorkerDied(f"A Ray worker died while it trained for {company}.")
            if reply.error.code == NODE_UNAVAILABLE:
                return "its node went offline"
            return _exception_text(reason)
        if reply.metadata.src_node_id != self.roster.node_of[company]:
            return "its reply came from another node"
        try:
            check(company, reply.content)
        except (ValueError, KeyError, TypeError) as error:
            return str(error)
        return None


def join(
    grid: Grid,
    config: Config,
    operator: OperatorData,
    stop: threading.Event,
    traffic: Traffic | None = None,
) -> Federation:
    """The federation, once every company is online and has registered its data.

    traffic: where messages are counted.

    Raises InputError when the nodes are not exactly the companies of the config, CompanyFailed when
    one does not register, or runs another version of the library.
    """
    nodes, simulated = _wait_for_nodes(grid, config, stop)
    sent_config = config if simulated else for_companies(config)
    poll_seconds = POLL_SECONDS if simulated else REMOTE_POLL_SECONDS
    unregistered = Roster(sent_config, operator.scaling, nodes, {})
    traffic = traffic or Traffic()
    federation = Federation(grid, unregistered, stop, poll_seconds, traffic)
    requests = []
    for name, node_id in nodes.items():
        company = name if name in config.companies else ""  # a simulated node knows its own
        content = RecordDict({wire.CONFIG: unregistered.briefing(company, 0)})
        requests.append(Message(content, node_id, wire.REGISTER))
    # The first message waits until Ray's actors, or the process of a company, have started.
    registration = federation.exchange(
        requests, _check_registration, "registration", least_seconds=FIRST_REPLY_SECONDS
    )
    replies = run_to_end(registration)
    node_of: dict[str, int] = {}
    examples: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for reply in replies:
        company = str(reply.content[wire.CONFIG][wire.COMPANY])
        node_of[company] = reply.metadata.src_node_id
        examples[company] = int(reply.content[wire.METRICS][wire.NUM_EXAMPLES])
        fingerprints[company] = str(reply.content[wire.CONFIG][wire.FINGERPRINT])
    if set(node_of) != set(config.companies):
        raise InputError(
            f"The nodes play the companies {listed(sorted(node_of))}; the config names"
            f" {listed(config.companies)}."
        )
    roster = Roster(sent_config, operator.scaling, node_of, examples, fingerprints)
    return replace(federation, roster=roster)


def _wait_for_nodes(
    grid: Grid, config: Config, stop: threading.Event
) -> tuple[dict[str, int], bool]:
    """The node ids by registered name, and whether the nodes are simulated.

    Simulated nodes have neither key nor name: here they are called by their numbers.
    """
    last_came = started = time.monotonic()
    n_nodes = 0
    while True:
        nodes = list(grid.get_nodes())
        if len(nodes) > n_nodes:
            n_nodes, last_came = len(nodes), time.monotonic()
        simulated = not any(node.name or node.public_key.startswith(REAL_KEY) for node in nodes)
        deadline = (
            last_came + SIMULATED_JOIN_SECONDS if nodes and simulated else started + JOIN_SECONDS
        )
        if len(nodes) >= config.n_companies or time.monotonic() > deadline:
            break
        _pause(stop, POLL_SECONDS if simulated else REMOTE_POLL_SECONDS)
    names = [node.name for node in nodes]
    if not simulated and not all(names):
        raise InputError(
            f"{names.count('')} of {len(names)} nodes were registered without a company's name;"
            " values and payouts are assigned by these names. Unregister them, and register each"
            " with `fl-sv federation register KEY.pub --name COMPANY`."
        )
    if not simulated and set(names) != set(config.companies):
        strangers = sorted(set(names) - set(config.companies))
        absent = sorted(set(config.companies) - set(names))
        raise InputError(
            "The registered nodes are not the companies of the config: absent"
            f" {listed(absent) or 'nobody'}, unknown {listed(strangers) or 'nobody'}. Start the"
            " SuperNodes of those that are absent, or register them under their companies' names;"
            " `fl-sv federation check` names them."
        )
    if len(nodes) != config.n_companies:
        raise InputError(
            f"{len(nodes)} nodes are online; the config names {config.n_companies} companies. A"
            f" simulation needs num-supernodes={config.n_companies}; in a federation start the"
            " companies' SuperNodes."
        )
    found = {
        name or f"node {number}": node.node_id
        for number, (name, node) in enumerate(zip(names, nodes, strict=True))
    }
    return found, simulated


def _pause(stop: threading.Event, seconds: float) -> None:
    """Waits. Raises Interrupted when the run is to stop."""
    if stop.wait(seconds):
        raise Interrupted("The run was interrupted.")


def _check_registration(company: str, content: RecordDict) -> None:
    facts, metrics = content[wire.CONFIG], content[wire.METRICS]
    check_metrics(metrics)
    if int(metrics[wire.NUM_EXAMPLES]) < 1:
        raise ValueError("it holds no examples")
    if facts[wire.LIBRARY] != library_hash():
        raise ValueError(
            "it runs another version of fl_sv than the server; install the same one everywhere"
        )


def _again(message: Message) -> Message:
    """A fresh message of the same content: a pushed message cannot be pushed again."""
    return Message(message.content, message.metadata.dst_node_id, message.metadata.message_type)


def _exception_text(reason: str) -> str:
    """The text of the company's exception, which Flower puts behind a traceback and prefixes."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = lines[-1].removesuffix("'>") if lines else "an error without a reason"
    last = re.sub(r"^<class '[\w.]+'>:<'", "", last)
    return last.rpartition("ClientAppException occurred. Message: ")[2]
