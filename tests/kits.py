"""Registered companies without a network: an inline grid whose nodes have kits, and keys.

The operator's key is the one in the tests' own home.
"""

import atexit
import os
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity

from clients.app import app
from fl_sv.config import Config, dump_config, for_companies
from fl_sv.federation.certificates import make_company_key, read_company_key
from fl_sv.federation.kit import CONFIG, KEY, OWNER, pin
from fl_sv.flower import wire
from fl_sv.runs.keys import owner_key
from server.inline import InlineGrid

# In memory where there is such a folder: a node waits for the disk at each instruction.
_MEMORY = Path("/dev/shm")
_SCRATCH = TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
atexit.register(_SCRATCH.cleanup)


@cache
def _key_of(company: str) -> bytes:
    folder = Path(_SCRATCH.name) / company
    folder.mkdir()
    make_company_key(folder, company)
    return (folder / KEY).read_bytes()


def make_kit(folder: Path, company: str, config: Config) -> Path:
    """A kit with which the company has joined for this config; its key is always the same."""
    shutil.copytree(_kit_of(company, config.model_dump_json()), folder)
    return folder


@cache
def _kit_of(company: str, config_json: str) -> Path:
    """Such a kit, made once."""
    config, folder = Config.model_validate_json(config_json), Path(mkdtemp(dir=_SCRATCH.name))
    (folder / CONFIG).write_text(dump_config(for_companies(config)))
    (folder / OWNER).write_bytes(public_pem(owner_key().public_key()))
    (folder / KEY).write_bytes(_key_of(company))
    pin(folder, company)
    return folder


def public_pem(key) -> bytes:  # type: ignore[no-untyped-def]
    """A public key as Flower's SuperLink holds it."""
    data: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data


class RegisteredGrid(InlineGrid):
    """An inline grid whose nodes were registered by name, and hold the kits of these companies."""

    def __init__(self, names: Iterable[str], config: Config, client_app: ClientApp = app) -> None:
        self.names = tuple(names)
        super().__init__(client_app, range(len(self.names)))
        # Messages are of the run that their nodes work for, as Flower's are.
        TaskIdentity.run_id = next(iter(self._contexts.values())).run_id
        folder = Path(mkdtemp(dir=_SCRATCH.name))
        self.kits: dict[str, Path] = {}
        for number, (name, context) in enumerate(
            zip(self.names, self._contexts.values(), strict=True)
        ):
            company = name if name in config.companies else config.companies[0]
            kit = make_kit(folder / str(number), company, config)
            context.node_config = {wire.KIT: str(kit)}
            self.kits[name] = kit
        self.sent: list[Message] = []

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [
            NodeInfo(node_id=node, name=name, public_key=self.public_key(name))
            for node, name in zip(super().get_node_ids(), self.names, strict=True)
        ]

    def public_key(self, name: str) -> bytes:
        """The key that was registered under the name."""
        return public_pem(read_company_key(self.kits[name] / KEY).public_key())

    def _run(self, message: Message) -> Message:
        self.sent.append(message)
        return super()._run(message)
