"""What belongs into a run directory: one row for each file.

`fl-sv verify` names everything else that lies there. A new file of a run is a new row of FILES.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fl_sv.config import Config
from fl_sv.config.load import MAX_BYTES as MAX_CONFIG
from fl_sv.files import MAX_BYTES

CONFIG = "config.yaml"
UTILITIES = "utilities.csv"
AVERAGED = "averaged.csv"
COMPANIES = "companies.csv"
AUDIT = "audit.csv"
RATES = "rates.csv"
TEACHER = "teacher.csv"
STUDENT = "student.csv"
LAW = "law.json"
VALUATION = "valuation.json"
VALIDATION = "validation.npz"
PAYOUTS = "payouts.csv"
COST = "cost.json"
LEDGER = "ledger.jsonl"
REPORT = "report.html"
JOURNAL = "journal.sqlite"
MODEL = "model.safetensors"
MODEL_RECORD = "model.json"
STUDENT_MODEL = "student.safetensors"
STUDENT_RECORD = "student.json"
BEST = "best.safetensors"
WRITING = ".safetensors"  # a folder: a file of this format while it is being written
ARRAYS = ".arrays"  # in place of ".sqlite": a folder beside the journal, if an array is large
PROGRESS = "progress.jsonl"
LOCK = ".lock"

# While the config is not what was signed, nothing says how large a file may be.
UNKNOWN = 100_000_000  # bytes
_LINE, _NAME = 1000, 80  # bytes: of the numbers and texts of a line, and of a company's name in it
MOST_NUMBERS = 1 << 38  # bytes of a model: the config does not say how large a user's module is
_TEXT = 2_000_000  # of a JSON file, beside what grows with companies and large runs


@dataclass(frozen=True)
class RunFile:
    """A file of a run directory.

    due: whether a finished run of this config has it.
    hashed: whether each section of the ledger closes with its hash.
    read: whether `fl-sv verify` opens it.
    folder: whether it is a folder.
    tensors: whether it holds the numbers of a model, which are too many to be held in memory.
    at_most: the most bytes that it has in a run of this config. Nothing larger is read.
    """

    name: str
    due: Callable[[Config], bool] = lambda config: True
    hashed: bool = True
    read: bool = True
    folder: bool = False
    tensors: bool = False
    at_most: Callable[[Config], int] = lambda config: _TEXT


def _companies(config: Config) -> int:
    """A line for each company."""
    return (config.n_companies + 2) * (_LINE + _NAME)


def _coalitions(config: Config) -> int:
    """A line for each coalition, model and seed, the members' names in it."""
    stop = config.coalitions.stop
    coalitions = stop.max_evaluations if stop else 1 << config.n_companies
    training = config.training
    seeds = len(config.models.small) * training.seeds + training.large_seeds
    return (coalitions + 2) * seeds * (_LINE + _NAME * config.n_companies)


def _pairs(config: Config) -> int:
    """A line for each company and check, and for each two companies."""
    return (config.n_companies + 3) ** 2 * (_LINE + _NAME * config.n_companies)


def _law(config: Config) -> int:
    """A number for each large run, which are coalitions, and names of companies in sentences."""
    return _TEXT + min(_coalitions(config), 10_000 * _LINE) + 100 * _companies(config)


def _per_company(config: Config) -> int:
    return _TEXT + 10 * _companies(config)


def _has_student(config: Config) -> bool:
    return config.deployed is not None


def _keeps_best(config: Config) -> bool:
    return config.teacher.keep == "best"


FILES = (
    RunFile(CONFIG, at_most=lambda config: MAX_CONFIG),
    RunFile(UTILITIES, at_most=_coalitions),
    RunFile(COMPANIES, at_most=_companies),
    RunFile(AUDIT, at_most=_pairs),
    RunFile(TEACHER, at_most=lambda config: (config.training.rounds + 2) * _LINE),
    RunFile(VALIDATION, at_most=lambda config: MAX_BYTES),  # the config does not say how many rows
    RunFile(LAW, at_most=_law),
    RunFile(VALUATION, at_most=_per_company),
    RunFile(PAYOUTS, at_most=_companies),
    RunFile(COST, at_most=lambda config: _TEXT),
    RunFile(AVERAGED, at_most=_coalitions),
    RunFile(RATES, due=lambda config: config.tries_rates),
    RunFile(STUDENT, due=_has_student),
    RunFile(MODEL, tensors=True, at_most=lambda config: MOST_NUMBERS),
    RunFile(MODEL_RECORD, at_most=lambda config: UNKNOWN),
    RunFile(STUDENT_MODEL, _has_student, tensors=True, at_most=lambda config: MOST_NUMBERS),
    RunFile(STUDENT_RECORD, _has_student, at_most=lambda config: UNKNOWN),
    RunFile(BEST, _keeps_best, tensors=True, at_most=lambda config: MOST_NUMBERS),
    RunFile(LEDGER, hashed=False, at_most=lambda config: UNKNOWN),
    RunFile(REPORT, hashed=False, at_most=lambda config: UNKNOWN),  # its own record has the hash
    # Nobody reads these in a copy, and a copy need not have them.
    RunFile(JOURNAL, hashed=False, read=False),
    *(RunFile(f"{JOURNAL}{end}", hashed=False, read=False) for end in ("-wal", "-shm", "-journal")),
    RunFile(JOURNAL.removesuffix(".sqlite") + ARRAYS, hashed=False, read=False, folder=True),
    RunFile(PROGRESS, hashed=False, read=False),
    RunFile(WRITING, hashed=False, read=False, folder=True),
    RunFile(LOCK, hashed=False, read=False),
)
SEALED = tuple(file.name for file in FILES if file.hashed)


def round_file(number: int) -> str:
    """The name of the teacher's model after a round, where `teacher.keep` keeps all."""
    return f"round-{number}.safetensors"


def files_of(config: Config | None) -> tuple[RunFile, ...]:
    """All rows: those above, and one for each round that a run of this config keeps.

    config: None where nobody knows which it is.
    """
    if config is None or config.teacher.keep != "rounds":
        return FILES
    rounds = map(round_file, range(config.training.rounds))  # the last one is the model
    return (
        *FILES,
        *(RunFile(name, tensors=True, at_most=lambda config: MOST_NUMBERS) for name in rounds),
    )


def due(config: Config) -> tuple[str, ...]:
    """The files whose hashes the ledger of a run of this config holds."""
    return tuple(file.name for file in files_of(config) if file.hashed and file.due(config))


def part(name: str) -> str:
    """A file while it is being written; a crash may leave it."""
    return f".{name}.part"
