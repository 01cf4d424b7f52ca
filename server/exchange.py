"""The companies as the server reaches them: who is there, and messages that are answered or tried
again.

Flower averages whoever replied. Here every message must be answered by a usable reply; it is sent
again a configured number of times, and then the run stops with a sentence that names the company.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl_sv.config import Config, for_companies
from fl_sv.data import OperatorData
from fl_sv.errors import CompanyFailed, InputError, Interrupted, WorkerDied, listed
from fl_sv.flower import wire
from fl_sv.machine import library_hash
from server.interleave import Work, run_to_end
from strategies.roster import Roster, check_metrics

Check = Callable[[str, RecordDict], None]

POLL_SECONDS = 0.02  # Flower's own grids wait 0.1 s (simulation) and 3 s (HTTP) between two looks
REMOTE_POLL_SECONDS = (
    0.5  # a look at a SuperLink is a request; a SuperNode takes seconds for a message
)
JOIN_SECONDS = 60.0
REJOIN_SECONDS = (
    180.0  # a killed SuperNode is refused for 60 s, and a supervisor starts it every 20 s
)
RESTART_LOOK_SECONDS = 10.0  # between two looks for nodes that were started again
SIMULATED_JOIN_SECONDS = 5.0  # simulated nodes register within milliseconds
NODE_UNAVAILABLE = 5  # Flower's code for a node that went offline with the message
# Flower's code for what is neither the app's exception nor a lost node: in simulation, a dead actor
UNKNOWN_ERROR = 0
# every SuperNode has one; a simulated node's are random bytes, or none
REAL_KEY = b"-----BEGIN PUBLIC KEY-----"
ACTOR_DEATHS = (
    "ActorDiedError",
    "ActorUnavailableError",
    "RayActorError",
    "WorkerCrashedError",
    "OutOfMemoryError",
)


@dataclass
class Traffic:
    """What the messages of a stage carried and cost the companies."""

    n_bytes: int = 0
    company_seconds: float = 0.0

    def count(self, content: RecordDict) -> None:
        self.n_bytes += sum(
            len(array.data)
            for record in content.array_records.values()
            for array in record.values()
        )
        for metrics in content.metric_records.values():
            self.company_seconds += float(metrics.get(wire.SECONDS, 0.0))  # type: ignore[arg-type]


@dataclass
class Federation:
    """A grid, the roster of companies behind it, and the rules for retrying."""

    grid: Grid
    roster: Roster
    stop: threading.Event
    poll_seconds: float = POLL_SECONDS
    traffic: Traffic = field(default_factory=Traffic)

    def exchange(
        self,
        messages: Iterable[Message],
        check: Check,
        what: str,
        on_reply: Callable[[], None] = lambda: None,
        before_retry: Callable[[Collection[str]], None] = lambda companies: None,
        least_seconds: float = 0.0,
    ) -> Work[list[Message]]:
        """The usable reply to every message, in no particular order.

        It yields when messages are on their way; `server.interleave` drives it. A reply is usable
        when it carries no error and `check(company, content)` raises no ValueError. `what` says in
        error messages what was being done; `on_reply` is called once for each usable reply,
        `before_retry` with the companies that are about to be asked again; a company has at least
        `least_seconds` to answer, whatever the config says. Raises CompanyFailed when a company
        fails every try, WorkerDied when the simulation lost an actor, Interrupted when asked to
        stop."""
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
                    on_reply()
                else:
                    problems[company] = problem
            if not problems:
                return usable
            pending = {company: _again(pending[company]) for company in problems}
        company, problem = next(iter(problems.items()))
        others = (
            f" So did {listed(sorted(set(problems) - {company}))}." if len(problems) > 1 else ""
        )
        raise CompanyFailed(
            f"{company} failed in {what}, {faults.retries + 1} times: {problem}.{others} Nothing"
            " was averaged over the rest. Mend the company and go on with --resume; what was"
            " finished is in the journal."
        )

    def _send(self, messages: dict[str, Message], timeout: float) -> Work[dict[str, Message]]:
        """Replies by company; those that do not come within `timeout` seconds, or are lost, are
        left out.

        The time begins when they are waited for, since a company may have another wave's message to
        answer first.

        Flower forgets a message whose node is killed and started again between two looks of ours,
        so that it never seems offline: such a node is told by the time of its activation. Its
        message is given up then, and sent again only by the next try, when every other message has
        been answered or timed out."""
        if self.stop.is_set():
            raise Interrupted("The run was interrupted.")
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
            if (
                time.monotonic() > next_look
            ):  # before the replies are pulled: what a node sent before is among them
                restarted = {
                    node
                    for node, since in self._activations().items()
                    if activated.get(node, since) != since
                }
                next_look = time.monotonic() + RESTART_LOOK_SECONDS
            for reply in self.grid.pull_messages(list(waiting)):
                replies[waiting.pop(reply.metadata.reply_to_message_id)] = reply
            waiting = {
                key: name
                for key, name in waiting.items()
                if self.roster.node_of[name] not in restarted
            }
            if waiting:
                _pause(self.stop, self.poll_seconds)
        return replies

    def _activations(self) -> dict[int, str]:
        """When each node that is online was activated."""
        return {node.node_id: node.last_activated_at for node in self.grid.get_nodes()}

    def _wait_until_online(self, companies: Iterable[str]) -> None:
        """Gives a node that went away, and that its supervisor starts again, time to come back."""
        wanted = {self.roster.node_of[company] for company in companies}
        deadline = time.monotonic() + REJOIN_SECONDS
        while wanted - set(self.grid.get_node_ids()) and time.monotonic() < deadline:
            _pause(self.stop, self.poll_seconds)

    @staticmethod
    def _problem(company: str, reply: Message | None, check: Check) -> str | None:
        if reply is None:
            return "no reply came in time, or its node was started again meanwhile"
        if reply.has_error():
            reason = reply.error.reason or f"error {reply.error.code}"
            if reply.error.code == UNKNOWN_ERROR and any(death in reason for death in ACTOR_DEATHS):
                raise WorkerDied(f"A Ray worker died while it trained for {company}.")
            return (
                "its node went offline"
                if reply.error.code == NODE_UNAVAILABLE
                else _own_words(reason)
            )
        try:
            check(company, reply.content)
        except (ValueError, KeyError, TypeError) as error:
            return str(error)
        return None


def join(grid: Grid, config: Config, operator: OperatorData, stop: threading.Event) -> Federation:
    """The federation, once every company is there and has registered its data.

    Raises InputError when the nodes are not exactly the companies of the config, or run another
    library."""
    named, simulated = _wait_for_nodes(grid, config, stop)
    told = config if simulated else for_companies(config)
    poll_seconds = POLL_SECONDS if simulated else REMOTE_POLL_SECONDS
    anonymous = Roster(told, operator.scaling, named, {})
    federation = Federation(grid, anonymous, stop, poll_seconds)
    requests = [
        Message(
            RecordDict(
                {wire.CONFIG: anonymous.briefing(company if company in config.companies else "", 0)}
            ),
            node_id,
            wire.REGISTER,
        )
        for company, node_id in named.items()
    ]
    # The first message waits until Ray's actors, or a company's process, have started.
    replies = run_to_end(
        federation.exchange(
            requests, _check_registration, "registration", least_seconds=JOIN_SECONDS
        )
    )
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
    roster = Roster(told, operator.scaling, node_of, examples, fingerprints)
    return Federation(grid, roster, stop, poll_seconds)


def _wait_for_nodes(
    grid: Grid, config: Config, stop: threading.Event
) -> tuple[dict[str, int], bool]:
    """Node ids by registered name; or by number, and True, in a simulation, whose nodes have
    neither key nor name.
    """
    started = time.monotonic()
    while True:
        nodes = list(grid.get_nodes())
        simulated = not any(node.name or node.public_key.startswith(REAL_KEY) for node in nodes)
        patience = SIMULATED_JOIN_SECONDS if nodes and simulated else JOIN_SECONDS
        if len(nodes) >= config.n_companies or time.monotonic() - started > patience:
            break
        _pause(stop, POLL_SECONDS if simulated else REMOTE_POLL_SECONDS)
    names = [node.name for node in nodes]
    if not simulated and not all(names):
        raise InputError(
            f"{names.count('')} of {len(names)} nodes were registered without a company's name, by"
            " which values and payouts go. Unregister them, and register each with `fl-sv"
            " federation register KEY.pub --name COMPANY`."
        )
    if not simulated and set(names) != set(config.companies):
        strangers = sorted(set(names) - set(config.companies))
        absent = sorted(set(config.companies) - set(names))
        raise InputError(
            "The registered nodes are not the companies of the config: absent"
            f" {listed(absent) or 'nobody'}, unknown {listed(strangers) or 'nobody'}. Start the"
            " SuperNodes of those that are absent, or register them under their companies' names;"
            " `fl-sv federation check` says which."
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
    """Waits, unless the run is asked to stop."""
    if stop.wait(seconds):
        raise Interrupted("The run was interrupted.")


def _check_registration(company: str, content: RecordDict) -> None:
    facts, metrics = content[wire.CONFIG], content[wire.METRICS]
    check_metrics(metrics)
    if not int(metrics[wire.NUM_EXAMPLES]) >= 1:
        raise ValueError("it holds no examples")
    if facts[wire.LIBRARY] != library_hash():
        raise ValueError(
            "it runs another version of fl_sv than the server; install the same one everywhere"
        )


def _again(message: Message) -> Message:
    """A fresh message of the same content: a pushed message cannot be pushed again."""
    return Message(message.content, message.metadata.dst_node_id, message.metadata.message_type)


def _own_words(reason: str) -> str:
    """The exception's own text, which Flower puts last, behind a traceback and prefixes of its own."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = lines[-1].removesuffix("'>") if lines else "an error without a reason"
    last = re.sub(r"^<class '[\w.]+'>:<'", "", last)
    return last.rpartition("ClientAppException occurred. Message: ")[2]
