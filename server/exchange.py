"""The exchange of messages with the companies, with retries.

Flower averages the replies that it gets. Here every message needs a usable reply. Without one it is
sent again, until the company's tries are over (`server.tries`). Then the run stops with an error
that says of whom no usable reply came, and whether that was the company's own fault.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flwr.app import Array, Message, RecordDict
from flwr.serverapp import Grid

from fl_sv.config import Config, for_companies
from fl_sv.data import OperatorData, require_hidden_validation
from fl_sv.errors import InputError, Interrupted, listed
from fl_sv.flower import schema, wire
from fl_sv.flower.pieces import bound_arrays
from fl_sv.machine import library_hash
from server.interleave import Work, run_to_end
from server.meter import Traffic
from server.replies import NO_REPLY, UNREADABLE, Problem, ReplyCheck, problem_of, unreadable
from server.signatures import Signatures
from server.tries import Tries, company_failed
from strategies.roster import Roster
from strategies.spool import spool

LOG = logging.getLogger("flwr")  # the log of the run, as `flwr log` shows it

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

# How the public key of a SuperNode begins. A simulated node's are random bytes, or none.
REAL_KEY = b"-----BEGIN PUBLIC KEY-----"


@dataclass
class Federation:
    """A grid, the companies behind it, and the rules for retries.

    signatures: the operator's and the companies'; None where all companies are processes of this
        machine, or threads of this process.
    """

    grid: Grid
    roster: Roster
    stop: threading.Event  # set to interrupt the run
    poll_seconds: float = POLL_SECONDS
    signatures: Signatures | None = None
    traffic: Traffic = field(default_factory=Traffic)
    folder: Path | None = None  # where large replies wait (`strategies.spool`)
    # Messages for whose replies nobody waits any more: they timed out, or were sent again.
    late: set[str] = field(default_factory=set)

    @property
    def simulated(self) -> bool:
        """Whether nobody signs: all companies are on this machine."""
        return self.signatures is None

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
        when it is no error and `check(company, content)` raises no ValueError. It is judged as it
        comes, and a large one waits on disk for the others.

        what: the work, as error messages name it.
        on_reply: called once for each usable reply, with the company.
        before_retry: called with the companies to which messages are about to be sent again.
        least_seconds: the shortest timeout, even if the config states a shorter one.

        Raises CompanyFailed when a company's tries are over, WorkerDied when the simulation lost
        an actor, Interrupted when the run is to stop.
        """
        pending = {
            self.roster.company_of(message.metadata.dst_node_id): message for message in messages
        }
        usable: list[Message] = []
        problems: dict[str, Problem] = {}
        faults = self.roster.config.faults
        timeout = max(faults.timeout_seconds, least_seconds)
        tries = {company: Tries(faults.retries) for company in pending}

        def receive(company: str, reply: Message) -> None:
            problem = self._problem_of(company, sent[company], reply, check)
            if problem is None:
                del problems[company]
                usable.append(reply)
                on_reply(company)
            else:
                problems[company] = problem

        while True:
            sent = {c: self._outgoing(c, message, timeout) for c, message in pending.items()}
            problems = dict.fromkeys(pending, NO_REPLY)
            yield from self._send(sent, timeout, receive)
            if not problems:
                return usable
            for company, problem in problems.items():
                tries[company].add(problem)
            name_of = self.roster.config.legal_name
            if ended := {name_of(c): tries[c] for c in problems if tries[c].are_over}:
                raise company_failed(ended, what, is_simulated=self.simulated)
            pending = {company: pending[company] for company in problems}
            self._wait_until_online(pending)
            before_retry(pending)

    def _problem_of(
        self, company: str, sent: Message, reply: Message, check: ReplyCheck
    ) -> Problem | None:
        """Why a reply is not usable; None when it is. Then it is counted, and on disk if large."""
        problem = problem_of(company, sent, reply, check, self.signatures)
        if problem is None:
            self.traffic.count(reply.content)
            spool(reply.content, self.folder)
            return None
        if problem.kind == "thrown away":
            LOG.warning("A reply in the name of %s was thrown away: %s.", company, problem.text)
        if reply.has_content():
            self.traffic.count_bytes(reply.content)
        return problem

    def _outgoing(self, company: str, message: Message, timeout: float) -> Message:
        """The message as it is pushed: a fresh one in every try, since no message is pushed twice.

        This is the one place where instructions are signed.
        """
        if self.signatures is not None:
            return self.signatures.signed(company, message, timeout)
        metadata = message.metadata
        return Message(message.content, metadata.dst_node_id, metadata.message_type)

    def _send(
        self,
        messages: dict[str, Message],
        timeout: float,
        receive: Callable[[str, Message], None],
    ) -> Work[None]:
        """Sends each company its message, and calls `receive` for each reply as it comes.

        It does not wait for replies that are lost or take more than `timeout` seconds.

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
        yield
        deadline = time.monotonic() + timeout
        next_look = time.monotonic() + RESTART_LOOK_SECONDS
        overdue = False
        while waiting and not overdue:
            overdue = time.monotonic() > deadline  # what came until now is received all the same
            restarted: set[int] = set()
            # Before the replies are pulled: a reply from before the restart is among them.
            if time.monotonic() > next_look:
                restarted = {
                    node
                    for node, since in self._activations().items()
                    if activated.get(node, since) != since
                }
                next_look = time.monotonic() + RESTART_LOOK_SECONDS
            for key, reply in self._pull(list(waiting)):
                company = waiting.pop(key)
                receive(company, reply or unreadable(messages[company]))
            for key, name in list(waiting.items()):
                if self.roster.node_of[name] in restarted:
                    self.late.add(key)
                    del waiting[key]
            if waiting and not overdue:
                self._drop_late_replies()
                _pause(self.stop, self.poll_seconds)
        self.late.update(waiting)

    def _drop_late_replies(self) -> None:
        """Takes late replies off the grid, which would keep them, parameters and all."""
        self.late.difference_update(key for key, _ in list(self._pull(list(self.late))))

    def _pull(self, keys: list[str]) -> Iterator[tuple[str, Message | None]]:
        """The replies that are there, each once, by the message that it answers.

        None is a reply that Flower cannot read. Flower takes it off the SuperLink before it reads
        it, and all that it pulls with it are lost then. So in a federation each is pulled alone.
        """
        for batch in [keys] if self.simulated and keys else [[key] for key in keys]:
            missing = set(batch)
            try:
                replies = list(self.grid.pull_messages(batch))
            except UNREADABLE:
                if self.simulated:
                    raise
                yield batch[0], None
                continue
            for reply in replies:
                key = reply.metadata.reply_to_message_id
                if key in missing:
                    missing.remove(key)
                    yield key, reply

    def _activations(self) -> dict[int, str]:
        """The time at which each node that is online was activated."""
        return {node.node_id: node.last_activated_at for node in self.grid.get_nodes()}

    def _wait_until_online(self, companies: Iterable[str]) -> None:
        """Waits until lost nodes are back online: their supervisors start them again."""
        wanted = {self.roster.node_of[company] for company in companies}
        deadline = time.monotonic() + REJOIN_SECONDS
        while wanted - set(self.grid.get_node_ids()) and time.monotonic() < deadline:
            _pause(self.stop, self.poll_seconds)


def join(
    grid: Grid,
    config: Config,
    operator: OperatorData,
    stop: threading.Event,
    traffic: Traffic | None = None,
    folder: Path | None = None,
) -> Federation:
    """The federation, once every company is online and has registered its data.

    traffic: where messages are counted. folder: where large replies wait on disk.

    Raises InputError when the nodes are not exactly the companies of the config, or would hold the
    validation rows; CompanyFailed when one does not register, or runs another version of the
    library.
    """
    nodes, keys = _wait_for_nodes(grid, config, stop)
    simulated = not keys
    sent_config, signatures = config, None
    if not simulated:
        bound_arrays(Array)
        require_hidden_validation(config)
        sent_config = for_companies(config)
        signatures = Signatures.of(sent_config, keys)
    poll_seconds = POLL_SECONDS if simulated else REMOTE_POLL_SECONDS
    unregistered = Roster(sent_config, operator.scaling, nodes, {})
    traffic = traffic or Traffic()
    federation = Federation(grid, unregistered, stop, poll_seconds, signatures, traffic, folder)
    requests = []
    for name, node_id in nodes.items():
        company = name if name in config.companies else ""  # a simulated node knows its own
        content = RecordDict({wire.CONFIG: unregistered.briefing(company, 0)})
        requests.append(Message(content, node_id, wire.REGISTER))

    def check(name: str, content: RecordDict) -> None:
        _check_registration(content, config.companies if simulated else (name,))

    # The first message waits until Ray's actors, or the process of a company, have started.
    registration = federation.exchange(
        requests, check, "registration", least_seconds=FIRST_REPLY_SECONDS
    )
    replies = run_to_end(registration)
    node_of: dict[str, int] = {}
    examples: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    bases: dict[str, str] = {}
    for reply in replies:
        # In a federation it is the name under which the operator registered the node's key.
        company = str(reply.content[wire.CONFIG][wire.COMPANY])
        node_of[company] = reply.metadata.src_node_id
        examples[company] = int(reply.content[wire.METRICS][wire.NUM_EXAMPLES])
        fingerprints[company] = str(reply.content[wire.CONFIG][wire.FINGERPRINT])
        bases[company] = str(reply.content[wire.CONFIG][wire.BASES])
    if set(node_of) != set(config.companies):
        raise InputError(
            f"The nodes play the companies {listed(sorted(node_of))}; the config names"
            f" {listed(config.companies)}."
        )
    roster = Roster(sent_config, operator.scaling, node_of, examples, fingerprints, bases)
    return replace(federation, roster=roster)


def _wait_for_nodes(
    grid: Grid, config: Config, stop: threading.Event
) -> tuple[dict[str, int], dict[str, bytes]]:
    """The node ids and the public keys by registered name.

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
    keys = {} if simulated else {node.name: node.public_key for node in nodes}
    return found, keys


def _pause(stop: threading.Event, seconds: float) -> None:
    """Waits. Raises Interrupted when the run is to stop."""
    if stop.wait(seconds):
        raise Interrupted("The run was interrupted.")


def _check_registration(content: RecordDict, companies: Collection[str]) -> None:
    """Raises ValueError unless it is a registration of one of these companies.

    companies: that the node may be; in a federation the one whose registered key it has.
    """
    schema.check_reply(wire.REGISTER, content)
    facts = content[wire.CONFIG]
    if facts[wire.COMPANY] not in companies:
        raise ValueError(
            f"its reply is in the name of {facts[wire.COMPANY]!r}; its node may speak for"
            f" {listed(list(companies))} only"
        )
    if facts[wire.LIBRARY] != library_hash():
        raise ValueError(
            "it runs another version of fl_sv than the server; install the same one everywhere"
        )
