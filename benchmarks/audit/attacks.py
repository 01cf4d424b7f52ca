"""What a company may do for more money, each as rows that it brings and work that it does."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.audit.tasks import VICTIM
from clients.company import Arrays, Company, Floats
from fl_sv.config import Config
from fl_sv.config.models import model_name
from fl_sv.data import Dataset
from fl_sv.flower import wire
from fl_sv.game.coalitions import grand
from fl_sv.streams import stream

Rows = dict[str, Dataset]
MakeRows = Callable[[Rows, str, Dataset, np.random.Generator], Rows]


@dataclass(frozen=True)
class Place:
    """Where an attacker trains: on a coalition's model, small or large."""

    coalition: int
    own: int  # the bits of the attacker, and of its partner
    partner: int
    everybody: int
    large: bool

    @property
    def is_singleton(self) -> bool:
        return self.coalition == self.own

    @property
    def is_middle(self) -> bool:
        """Neither its singleton nor the grand coalition."""
        return self.coalition not in (self.own, self.everybody)


@dataclass(frozen=True)
class Effort:
    """How a company trains: so many rounds' work in one, and its update times a factor."""

    passes: int = 1
    factor: float = 1.0


HONEST = Effort()
Work = Callable[[Place], Effort]


@dataclass(frozen=True)
class Attack:
    """One way to cheat.

    rows: what everybody holds, from what everybody holds honestly; more companies may come of it.
    work: how the attacker trains.
    claim: how many examples it registers, in terms of those that it holds.
    group: who is paid with it: names made from the attacker's.
    n_companies: of the honest game. large_alone: whether small models are trained with honest rows.
    """

    name: str
    rows: MakeRows = lambda rows, *_: rows
    work: Work = lambda place: HONEST
    claim: float = 1.0
    group: Callable[[str], tuple[str, ...]] = lambda attacker: (attacker,)
    n_companies: int = 4
    large_alone: bool = False

    def game(
        self, config: Config, rows: Rows, attacker: str, validation: Dataset
    ) -> tuple[Config, Rows]:
        """The config and the rows of the game in which it happens."""
        generator = stream(config.seed, "attack", self.name, attacker)
        held = self.rows(dict(rows), attacker, validation, generator)
        partition = {"kind": "iid"}
        content = config.model_dump(mode="json", exclude_unset=True)
        content["companies"] = list(held)
        content["data"] = {**content["data"], "partition": partition}
        return Config.model_validate(content), held


# --- rows -----------------------------------------------------------------------------------------


def _with(rows: Rows, who: str, more: Dataset) -> Rows:
    return {**rows, who: rows[who].with_rows(more)}


def _jittered(data: Dataset, std: float, generator: np.random.Generator) -> Dataset:
    noise = generator.normal(0.0, std, data.x.shape) * data.x.std()
    return replace(data, x=(data.x + noise).astype(data.x.dtype))


def _repeated(data: Dataset, times: int) -> Dataset:
    return data.take(np.tile(np.arange(len(data)), times))


def five_times(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
    return _with(rows, who, _repeated(rows[who], 4))


def five_times_jittered(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
    return _with(rows, who, _jittered(_repeated(rows[who], 4), 0.2, generator))


def gaussian(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
    """Four synthetic rows for each own one: normal around the mean of its class."""
    own = rows[who]
    x = np.empty((4 * len(own), *own.x.shape[1:]), dtype=own.x.dtype)
    y = np.tile(own.y, 4)
    for label in np.unique(own.y):
        members = own.x[own.y == label]
        drawn = generator.normal(size=(int((y == label).sum()), *own.x.shape[1:]))
        spread = members.std(axis=0) if len(members) > 1 else own.x.std(axis=0)
        x[y == label] = members.mean(axis=0) + spread * drawn
    return _with(rows, who, Dataset(x, y))


def copies(share: float, std: float) -> MakeRows:
    """A share of the largest company's rows: one cell changed, or noise on all of them."""

    def make(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
        theirs = rows[VICTIM]
        some = generator.permutation(len(theirs))[: round(share * len(theirs))]
        taken = theirs.take(np.sort(some))
        if std:
            return _with(rows, who, _jittered(taken, std, generator))
        flat = taken.x.reshape(len(taken), -1).copy()
        flat[:, 0] += 0.01
        return _with(rows, who, replace(taken, x=flat.reshape(taken.x.shape)))

    return make


def validation_rows(std: float) -> MakeRows:
    def make(rows: Rows, who: str, validation: Dataset, generator: np.random.Generator) -> Rows:
        return _with(rows, who, _jittered(validation, std, generator) if std else validation)

    return make


def without_doubtful(rows: Rows, who: str, leaked: Dataset, _: np.random.Generator) -> Rows:
    """The leaked rows on whose labels a model of its own rows agrees: few planted ones."""
    own = rows[who]
    model = LogisticRegression(max_iter=1000).fit(own.x.reshape(len(own), -1), own.y)
    agreed = model.predict(leaked.x.reshape(len(leaked), -1)) == leaked.y
    return _with(rows, who, leaked.take(np.flatnonzero(agreed)))


def second_name(who: str) -> str:
    """What the attacker's other identity is called."""
    return f"{who} Two"


def both(who: str) -> tuple[str, ...]:
    return who, second_name(who)


def two_with_all(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
    return {**rows, second_name(who): _jittered(rows[who], 0.02, generator)}


def two_halves(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
    order = generator.permutation(len(rows[who]))
    half = len(order) // 2
    first, second = (rows[who].take(np.sort(part)) for part in (order[:half], order[half:]))
    return {**rows, who: first, second_name(who): second}


def permuted(rows: Rows, who: str, _: Dataset, generator: np.random.Generator) -> Rows:
    return {**rows, who: rows[who].take(generator.permutation(len(rows[who])))}


# --- work -----------------------------------------------------------------------------------------


def where(passes: int, applies: Callable[[Place], bool]) -> Work:
    """So many passes instead of one, where it applies."""
    return lambda place: Effort(passes) if applies(place) else HONEST


def apart(place: Place) -> Effort:
    """Poisons every coalition that holds one of a pair: its update goes the other way."""
    alone = bool(place.partner) and not place.coalition & place.partner
    return Effort(factor=-1.0) if alone and not place.is_singleton else HONEST


# --- the table ------------------------------------------------------------------------------------

PARTNER = "Elm"
HARMLESS = "rows in another order"
ATTACKS = {
    attack.name: attack
    for attack in (
        Attack(HARMLESS, permuted),
        Attack("own rows five times", five_times),
        Attack("own and Gaussian rows", gaussian),
        Attack("another's rows, one cell changed", copies(1.0, 0.0)),
        Attack("validation rows", validation_rows(0.0)),
        Attack(
            "five passes in the middle",
            work=where(5, lambda place: place.is_middle and not place.large),
        ),
        Attack("five passes in its singleton", work=where(5, lambda place: place.is_singleton)),
        Attack("two identities with all rows", two_with_all, group=both),
        Attack("a pair that poisons", work=apart, group=lambda who: (who, PARTNER), n_companies=5),
        # Attackers who know the defence.
        Attack("own rows five times, jittered", five_times_jittered),
        Attack("another's rows with noise", copies(1.0, 0.5)),
        Attack("a third of another's rows", copies(1 / 3, 0.2)),
        Attack("validation rows with noise", validation_rows(0.5)),
        Attack("validation rows that its own model agrees with", without_doubtful),
        Attack("a claim of ten times the rows", claim=10.0),
        Attack("another's rows, in the large runs alone", copies(1.0, 0.2), large_alone=True),
        Attack("validation rows, in the large runs alone", validation_rows(0.0), large_alone=True),
        Attack(
            "two passes in the middle",
            work=where(2, lambda place: place.is_middle and not place.large),
        ),
        Attack(
            "five passes in the large singleton",
            work=where(5, lambda place: place.is_singleton and place.large),
        ),
        Attack("five passes always", work=where(5, lambda place: True)),
        Attack("updates three times as long", work=lambda place: Effort(factor=3.0)),
        Attack("two identities, half the rows each", two_halves, group=both),
    )
}


# --- an attacker ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attacker(Company):
    """A company that works as its attack says."""

    attack: Attack = ATTACKS[HARMLESS]
    partner: str = ""
    small: Company | None = None  # with the rows of its small models, where they are others

    @property
    def n_examples(self) -> int:
        return round(self.attack.claim * len(self.data.y))

    def train_round(
        self, stacks: Arrays, server_round: int, logits: Floats | None = None
    ) -> Arrays:
        return {
            key: self._worked(key, stack, server_round, self._coalitions(key, len(stack)))
            for key, stack in stacks.items()
        }

    def train_all_rounds(self, params: Arrays) -> Arrays:
        own = [self._bit(self.name)]
        for server_round in range(1, self.config.training.rounds + 1):
            params = {
                key: self._worked(key, vector[None], server_round, own)[0]
                for key, vector in params.items()
            }
        return params

    def _worked(self, key: str, stack: Floats, server_round: int, coalitions: list[int]) -> Floats:
        """The stack after the effort that each coalition is worth to the attacker.

        Where one model stands for all coalitions, the effort is that of the first one.
        """
        large = wire.model_of(wire.parse_stack_key(key)[0]) == model_name(self.config.models.large)
        own, partner = self._bit(self.name), self._bit(self.partner)
        everybody = grand(self.config.n_companies)
        efforts = [self.attack.work(Place(c, own, partner, everybody, large)) for c in coalitions]
        done = stack.copy()
        for effort in set(efforts):
            rows = [row for row, each in enumerate(efforts) if each == effort]
            part = stack[rows]
            for again in range(effort.passes):  # further passes have batches of their own
                number = server_round + again * (self.config.training.rounds + 1)
                part = self._honest(large).train_round({key: part}, number)[key]
            done[rows] = stack[rows] + effort.factor * (part - stack[rows])
        return done

    def _honest(self, large: bool) -> Company:
        """The same company, which keeps to the rules and claims what it holds."""
        if self.small and not large:
            return self.small
        held = (self.name, self.config, self.data, self.models, self.x, self.y)
        return Company(*held, self.states, self.rates)

    def _coalitions(self, key: str, n_rows: int) -> list[int]:
        """The coalition of each row of a stack: what a company can tell from the rows' number."""
        own, everybody = self._bit(self.name), grand(self.config.n_companies)
        mine = [c for c in range(1, everybody + 1) if c & own]
        if n_rows == len(mine):
            return mine
        if n_rows == 1:  # the teacher, or the first round of a stack
            return [everybody]
        return [c for c in mine if c.bit_count() == self.config.n_companies - 1]

    def _bit(self, name: str) -> int:
        companies = self.config.companies
        return 1 << companies.index(name) if name in companies else 0
