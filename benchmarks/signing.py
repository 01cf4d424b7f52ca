"""What the signatures of a federation cost: milliseconds for messages of several sizes.

    python -m benchmarks.signing [--json]

Each row is one message of one array, both ways: the server signs an instruction, the company
verifies it, writes it down as answered and signs a reply of the same size, the server verifies
that. Medians of many tries, in one process.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from benchmarks.common.machine import machine_text
from benchmarks.common.markdown import table
from fl_sv.federation.kit import is_first_answer
from fl_sv.flower import signing, wire

SIZES = {"1 kB": 1_000, "1 MB": 1_000_000, "10 MB": 10_000_000, "100 MB": 100_000_000}
TRIES = 21
STEPS = ("instruction signed", "verified", "written down", "reply signed", "reply verified")


def costs(n_bytes: int, tries: int = TRIES) -> dict[str, float]:
    """The median of each step, in milliseconds."""
    operator, company = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())
    sign = signing.company_signer(company)
    array = Array(np.zeros(n_bytes // 4, np.float32))
    content = RecordDict({wire.ARRAYS: ArrayRecord({"model/0": array})})
    seconds: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        done = work()
        seconds[step].append(time.perf_counter() - began)
        return done

    def instruction() -> RecordDict:
        letter = signing.Instruction(
            run=1,
            contract="0" * 64,
            recipient="Ash",
            type=wire.TEACHER,
            round=1,
            nonce=signing.new_nonce(),
            expires=int(time.time()) + 3600,
            digest=signing.digest(content),
        )
        return _enveloped(content, signing.envelope(letter, operator.sign))

    def reply(nonce: str) -> RecordDict:
        letter = signing.Reply(nonce, "Ash", wire.TEACHER, signing.digest(content))
        return _enveloped(content, signing.envelope(letter, sign))

    with TemporaryDirectory() as scratch:
        for _ in range(tries):
            sent = timed("instruction signed", instruction)
            opened = timed(
                "verified",
                lambda sent=sent: signing.open_instruction(  # type: ignore[misc]
                    sent, operator.public_key(), run=1, recipient="Ash", message_type=wire.TEACHER
                ),
            )
            timed(
                "written down",
                lambda o=opened: is_first_answer(Path(scratch), o.nonce, o.expires),  # type: ignore[misc]
            )
            answer = timed("reply signed", lambda o=opened: reply(o.nonce))  # type: ignore[misc]
            timed(
                "reply verified",
                lambda o=opened, answer=answer: signing.open_reply(  # type: ignore[misc]
                    answer,
                    company.public_key(),
                    nonce=o.nonce,
                    sender="Ash",
                    message_type=wire.TEACHER,
                ),
            )
    return {step: 1000 * statistics.median(taken) for step, taken in seconds.items()}


def _enveloped(content: RecordDict, fields: dict[str, Any]) -> RecordDict:
    return RecordDict({**content, wire.ENVELOPE: ConfigRecord(fields)})


def main() -> None:
    parser = argparse.ArgumentParser(description="What signatures cost, in milliseconds.")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    measured = {name: costs(n_bytes) for name, n_bytes in SIZES.items()}
    if options.json:
        print(json.dumps({"machine": machine_text(), "milliseconds": measured}))
        return
    rows = [[name, *(f"{found[step]:.2f}" for step in STEPS)] for name, found in measured.items()]
    print(machine_text())
    print(table(("message", *STEPS), rows))


if __name__ == "__main__":
    main()
