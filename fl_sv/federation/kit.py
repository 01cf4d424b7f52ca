"""What a company's node holds: whom it is, to what it agreed, whose instructions it follows.

KIT/                    the folder that the company got from the operator
  federation.yaml  ca.crt  config.yaml
  owner.pub               the operator's key: instructions are signed by it
  joined.yaml             what `join` pinned: the company, the contract, the operator's key
  company.key             secret: the node's key, by which replies are signed
STATE/answered.sqlite   the instructions that it has answered; STATE is KIT/state by default
"""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import StringConstraints, ValidationError

from fl_sv.config import Config, parse_config
from fl_sv.config.base import Frozen, first_problem
from fl_sv.config.dialect import parse_yaml, yaml_text
from fl_sv.config.names import CompanyName
from fl_sv.errors import InputError
from fl_sv.federation.certificates import read_company_key
from fl_sv.federation.settings import SETTINGS
from fl_sv.files import read_text
from fl_sv.flower.contract import contract_of
from fl_sv.flower.signing import SKEW_SECONDS
from fl_sv.runs.keys import PUBLIC, raw, read_public_key

JOINED, OWNER, KEY, CONFIG = "joined.yaml", PUBLIC, "company.key", "config.yaml"
STATE, ANSWERED = "state", "answered.sqlite"
LOCK_SECONDS = 30.0  # how long a process waits for another that writes an answered instruction

Digits = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Joined(Frozen):
    """What a company agreed to when it joined."""

    company: CompanyName
    contract: Digits
    operator: Digits  # the key in owner.pub


@dataclass(frozen=True)
class Kit:
    """What a node needs to follow an instruction."""

    company: str
    contract: str
    operator: Ed25519PublicKey
    key: ec.EllipticCurvePrivateKey
    state: Path


def read_kit(folder: Path, state: Path | None = None) -> Kit:
    """The kit of a company that has joined.

    state: the folder in which the node keeps what it has answered.

    Raises InputError where it is not whole, or its operator's key is not the one that was pinned.
    """
    joined = read_joined(folder)
    operator = read_public_key(folder / OWNER)
    if raw(operator).hex() != joined.operator:
        raise InputError(
            f"{folder / OWNER} is not the operator's key that {joined.company} joined with."
            f" {JOIN_AGAIN}"
        )
    key = read_company_key(folder / KEY)
    return Kit(joined.company, joined.contract, operator, key, state or folder / STATE)


# How a sentence goes on where kit and node do not agree.
JOIN_AGAIN = (
    "Ask the operator for the new kit, look at its config, and run `fl-sv federation join` again."
)


def is_kit(folder: Path) -> bool:
    """Whether a folder came from an operator: nobody has installed the modules in it."""
    return any((folder / name).exists() for name in (SETTINGS, OWNER, JOINED))


def kit_config(folder: Path) -> Config:
    """The config in a kit, whose paths mean nothing here. Raises InputError."""
    path = folder / CONFIG
    try:
        return parse_config(read_text(path), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def pin(folder: Path, company: str) -> Joined:
    """Writes down what the company agrees to: the kit's config, this fl_sv, the operator's key."""
    operator = raw(read_public_key(folder / OWNER)).hex()
    contract = contract_of(kit_config(folder))
    joined = Joined(company=company, contract=contract, operator=operator)
    temporary = folder / f".{JOINED}.part"
    temporary.write_text(yaml_text(joined.model_dump()), encoding="utf-8")
    temporary.replace(folder / JOINED)
    return joined


def read_joined(folder: Path) -> Joined:
    """What the company agreed to. Raises InputError when it has not joined."""
    path = folder / JOINED
    try:
        return Joined.model_validate(parse_yaml(read_text(path), str(path)))
    except FileNotFoundError:
        raise InputError(
            f"There is no {path}: the company has not joined with this kit. Run `fl-sv federation"
            " join` there."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise InputError(f"{path} cannot be read: {first_problem(error)}.") from None


def is_first_answer(state: Path, nonce: str, expires: int, now: float | None = None) -> bool:
    """Whether this node has not answered the instruction yet; from now on it has.

    nonce, expires: of the instruction. Instructions that have expired are forgotten. Of processes
    that ask for the same one at a time, one alone is told so.

    Raises InputError when that cannot be written down.
    """
    now = time.time() if now is None else now
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = state / ANSWERED
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS answered (nonce PRIMARY KEY, expires)")
            database.execute("DELETE FROM answered WHERE expires < ?", [now - SKEW_SECONDS])
            inserted = database.execute(
                "INSERT OR IGNORE INTO answered VALUES (?, ?)", [nonce, expires]
            )
            return inserted.rowcount == 1
    except (OSError, sqlite3.Error) as error:
        raise InputError(
            f"The node cannot write down in {state} which instructions it has answered: {error}."
            " Give it a folder that it may write, by `state=` in its node config."
        ) from None
