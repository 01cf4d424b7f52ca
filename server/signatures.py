"""The operator signs every instruction, and believes no reply that its company did not sign."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flwr.app import ConfigRecord, Message, RecordDict

from fl_sv.config import Config
from fl_sv.errors import InputError
from fl_sv.flower import signing, wire
from fl_sv.flower.contract import contract_of
from fl_sv.runs.keys import owner_key

# An instruction waits for another wave's, and its company may answer that one first: twice the
# timeout. This long besides, for a node that comes back meanwhile.
SPARE_SECONDS = 600.0


@dataclass(frozen=True)
class Signatures:
    """The operator's own key, and the companies' registered ones."""

    key: Ed25519PrivateKey
    contract: str
    registered: Mapping[str, ec.EllipticCurvePublicKey]  # by company

    @classmethod
    def of(cls, config: Config, registered: Mapping[str, bytes]) -> Self:
        """The signatures of a run.

        registered: each company's public key as Flower's SuperLink gives it, in PEM form.

        Raises InputError where a registered key cannot sign, or the operator's cannot be read.
        """
        keys = {company: _public_key(company, data) for company, data in registered.items()}
        return cls(owner_key(), contract_of(config), keys)

    def signed(self, company: str, message: Message, timeout: float) -> Message:
        """A fresh message of the same records with its envelope, under a nonce of its own.

        timeout: seconds in which the company must answer.
        """
        content = message.content
        letter = signing.Instruction(
            run=message.metadata.run_id,
            contract=self.contract,
            recipient=company,
            type=message.metadata.message_type,
            round=int(content[wire.CONFIG][wire.ROUND]),  # type: ignore[arg-type]
            nonce=signing.new_nonce(),
            expires=int(time.time() + 2 * timeout + SPARE_SECONDS),
            digest=signing.digest(content),
        )
        envelope = ConfigRecord(signing.envelope(letter, self.key.sign))
        records = {**content, wire.ENVELOPE: envelope}
        return Message(RecordDict(records), message.metadata.dst_node_id, letter.type)

    def open(self, company: str, sent: Message, reply: Message) -> None:
        """Takes the envelope off a reply, once it is shown that the company wrote it.

        sent: the instruction that it answers. Raises Unsigned.
        """
        signing.open_reply(
            reply.content,
            self.registered[company],
            nonce=str(sent.content[wire.ENVELOPE]["nonce"]),
            sender=company,
            message_type=sent.metadata.message_type,
        )
        del reply.content[wire.ENVELOPE]


def _public_key(company: str, data: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError(
            f"The key that is registered for {company} is no elliptic-curve key, so its replies"
            " cannot be verified. Register the NAME.pub that `fl-sv federation join` wrote."
        )
    return key
