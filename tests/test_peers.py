"""The benchmark of peers by its own half: games, judge, worker and environments, with toy peers and
no network.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from benchmarks.peers import games
from benchmarks.peers.compare import MISTAKES, PEERS, compared
from benchmarks.peers.environments import NotCompared, Peer, ask
from benchmarks.peers.federation import TRAINING, federation
from benchmarks.peers.judge import judged, ours_with_as_many, outcome
from benchmarks.sweep.sweeps import in_one_process
from fl_sv.data import all_company_data, operator_data
from fl_sv.values import semivalue, shapley

TOY = '''
"""A peer for tests."""
import itertools, math, random, time

VERSION = "1.2.3"

def by_orders(table):
    values = [0.0] * table.n
    for order in itertools.permutations(range(table.n)):
        for place, i in enumerate(order):
            gain = table(order[: place + 1]) - table(order[:place])
            values[i] += gain / math.factorial(table.n)
    return values

def clipped(table):
    return [max(value, 0.0) for value in by_orders(table)]

def of_one_order(table):
    order = random.sample(range(table.n), table.n)
    print("drew", order)
    values = [0.0] * table.n
    for place, i in enumerate(order):
        values[i] = table(order[: place + 1]) - table(order[:place])
    return values

def broken(table):
    return {}[0]

def endless(table):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass

def of_a_half(table):
    half = random.sample(range(2**table.n), 2 ** (table.n - 1))
    return [sum(table([i for i in range(table.n) if c >> i & 1]) for c in half)] * table.n

def of_what_is_known(table):
    return [float(len(list(table.known())))] * table.n
'''


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """Without a .txt beside its adapter, a peer runs in the tests' own environment."""
    folder = tmp_path_factory.mktemp("adapters")
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    methods = ("by_orders", "clipped", "of_one_order", "broken", "of_a_half", "of_what_is_known")
    return Peer("toy", {name: name for name in methods}, {}, adapters=folder)


@pytest.fixture(scope="module")
def found(
    toy: Peer,
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[tuple[str, str], dict[str, Any]]]:
    """Rows by (method, game), and outcomes by (method, mistake)."""
    rows, mistakes = compared(toy, games.with_a_formula(), patience=30.0)
    return {(row["peer"], row["game"]): row for row in rows}, {
        (row["peer"], row["mistake"]): row for row in mistakes
    }


# --- games ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", games.with_a_formula(), ids=lambda game: game.name)
def test_definition_and_library_agree(game: games.Game) -> None:
    assert game.shapley_N == pytest.approx(shapley(game.utility_C), abs=1e-12)
    assert game.leave_one_out_N == pytest.approx(semivalue(game.utility_C, "loo"), abs=1e-12)
    assert game.shapley_N.sum() == pytest.approx(game.gain)


def test_games_equal_their_formula() -> None:
    additive, diminishing, harmful, untrained = games.with_a_formula()
    assert additive.shapley_N == pytest.approx(games.ADDS)
    assert harmful.shapley_N == pytest.approx(diminishing.shapley_N + games.HARM)
    assert untrained.shapley_N == pytest.approx(diminishing.shapley_N)
    assert [game.utility_C[0] for game in (additive, diminishing, harmful, untrained)] == [
        0,
        0,
        0,
        -2.3,
    ]


# --- a peer's answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["additive", "diminishing", "harmful", "untrained"])
def test_a_right_peer_passes_every_check(found: Any, name: str) -> None:
    row = found[0]["by_orders", name]
    assert row["error"] < 1e-12
    assert [row[check] for check in ("sums_up", "null_player", "symmetric", "repeatable")] == [
        True
    ] * 4
    assert (row["version"], row["evaluations"], row["note"]) == ("1.2.3", 32, "")
    assert row["seconds"] > 0


def test_a_peer_that_clips_is_caught_where_a_company_does_harm(found: Any) -> None:
    assert found[0]["clipped", "diminishing"]["sums_up"]
    harmful = found[0]["clipped", "harmful"]
    assert not harmful["sums_up"]
    assert harmful["error"] > 0.1


def test_a_peer_that_draws_anew_does_not_repeat(found: Any) -> None:
    rows = [found[0]["of_one_order", name] for name in ("diminishing", "harmful", "untrained")]
    assert any(not row["repeatable"] for row in rows)
    assert all(row["sums_up"] for row in rows)


def test_evaluations_are_those_of_one_call(found: Any) -> None:
    assert found[0]["of_a_half", "additive"]["evaluations"] == 16
    assert found[0]["of_what_is_known", "additive"]["evaluations"] == 32


def test_an_error_is_never_a_number(found: Any) -> None:
    row = found[0]["broken", "additive"]
    assert row["note"] == "KeyError: 0"
    numbers = (
        "error",
        "error_of_ours",
        "seconds",
        "sums_up",
        "null_player",
        "symmetric",
        "repeatable",
    )
    assert [row[name] for name in numbers] == [None] * 7


def test_patience_has_an_end(toy: Peer) -> None:
    game = games.with_a_formula()[0]
    answer = ask(toy, [{"method": "endless", "utilities": game.utility_C.tolist()}], patience=0.2)
    assert judged(game, answer["jobs"][0], "shapley")["note"] == "no answer to 2 calls within 0.2 s"


def test_values_that_are_not_finite_have_no_error() -> None:
    game = games.with_a_formula()[0]
    row = judged(game, {"calls": [[math.nan] * 5] * 2, "seconds": 1.0, "asked": [0]}, "shapley")
    assert (row["error"], row["note"]) == (None, "values are nan, nan, nan, nan, nan")
    json.dumps(row, allow_nan=False)


def test_leave_one_outs_are_held_against_leave_one_outs() -> None:
    game = games.with_a_formula()[1]
    row = judged(
        game,
        {"calls": [game.leave_one_out_N.tolist()] * 2, "seconds": 1.0, "asked": [0]},
        "leave_one_out",
    )
    assert (row["error"], row["sums_up"]) == (0.0, None)


def test_ours_with_fewer_coalitions_is_further_off() -> None:
    game = games.with_a_formula()[1]
    few, many = ours_with_as_many(game, 8), ours_with_as_many(game, 24)
    assert few is not None
    assert many is not None
    assert few > many > 0
    assert ours_with_as_many(game, 32) is None


# --- mistakes -------------------------------------------------------------------------------------


def test_mistakes_are_distinguished(found: Any) -> None:
    nan, missing = "NaN: second company alone", "missing: second company alone"
    assert found[1]["by_orders", nan]["outcome"] == "not finite"
    assert found[1]["by_orders", missing] == {
        "peer": "by_orders",
        "version": "1.2.3",
        "mistake": missing,
        "outcome": "error",
        "detail": "LookupError: coalition 2 is missing",
    }
    assert found[1]["of_what_is_known", missing]["outcome"] == "numbers"
    unasked = {"calls": [[1.0, 2.0]] * 2, "asked": [0, 1, 3]}
    assert outcome(unasked, 2) == {"outcome": "not asked for", "detail": "1, 2"}


def test_ours_is_exact_and_refuses_every_mistake() -> None:
    rows, mistakes = compared(PEERS[0], games.with_a_formula(), patience=30.0)
    exact = [row for row in rows if row["peer"] in ("fl-sv", "fl-sv LOO")]
    assert max(row["error"] for row in exact) < 1e-12
    assert all(row["repeatable"] for row in rows)
    assert all(row["sums_up"] for row in rows if row["of"] == "shapley")
    assert len(mistakes) == len(MISTAKES) * 3
    assert {row["outcome"] for row in mistakes} == {"error"}


# --- the federated run ----------------------------------------------------------------------------


def test_our_run_is_plain_logistic_regression_by_fedavg() -> None:
    """Half the rate with two logits, from zero, is what FederatedHPLearning does with one."""
    config = federation()
    operator = operator_data(config)
    shares = [*all_company_data(config, operator.scaling).values()]
    weight_F = np.zeros(operator.validation.x.shape[1])
    for _ in range(TRAINING["rounds"]):
        local = [weight_F.copy() for _ in shares]
        for _ in range(TRAINING["epochs"]):
            for share, own_F in zip(shares, local, strict=True):
                own_F -= (
                    TRAINING["lr"] * share.x.T @ (expit(share.x @ own_F) - share.y) / len(share)
                )
        weight_F = np.average(local, axis=0, weights=[len(share) for share in shares])
    logit_V = (2 * operator.validation.y - 1) * (operator.validation.x @ weight_F)
    assert in_one_process(config).losses[-1] == pytest.approx(
        np.log1p(np.exp(-logit_V)).mean(), abs=1e-5
    )


# --- peers that are not there ---------------------------------------------------------------------


def test_a_peer_for_another_python_is_reported_with_the_sentence(tmp_path: Path) -> None:
    (tmp_path / "later.txt").write_text("later==1\n", encoding="utf-8")
    with pytest.raises(
        NotCompared, match=r"^needs Python 9.9 or newer, and there is none on the PATH$"
    ):
        ask(Peer("later", {}, {}, python=(9, 9), adapters=tmp_path), [], 1.0)


def test_a_peer_that_cannot_be_imported_is_reported_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("import a_package_that_is_not_there\n", encoding="utf-8")
    with pytest.raises(
        NotCompared, match=r"did not run: ModuleNotFoundError: .*a_package_that_is_not_there"
    ):
        ask(Peer("gone", {}, {}, adapters=tmp_path), [], 1.0)


@pytest.mark.parametrize("peer", PEERS[1:], ids=lambda peer: peer.name)
def test_every_peer_is_pinned_to_one_version(peer: Peer) -> None:
    requirements = peer.adapter.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert all("==" in line for line in requirements)
    assert peer.adapter.exists()
    assert requirements[0].lower().startswith(peer.name)
