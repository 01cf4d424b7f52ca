"""The door for Python: what the commands do, as functions that return records.

    >>> import fl_sv
    >>> run = fl_sv.run("configs/smoke.yaml", "runs/first")  # doctest: +SKIP
    >>> run.payouts  # doctest: +SKIP
    {'Ash': 338347, 'Beech': 321102, 'Chestnut': 226555, 'Damson': 113996}

Whatever goes wrong is an exception of `fl_sv.errors`: InputError when what was given is wrong,
RunError when a run stopped, VerificationError when a run is not what was signed.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fl_sv.app import import_app
from fl_sv.config import Config, config_of, load_config
from fl_sv.data import own_files_are_here
from fl_sv.errors import InputError, suggestion
from fl_sv.game.utilities import Score
from fl_sv.law import Law
from fl_sv.payment.payouts import read_payouts
from fl_sv.payment.settlement import Evidence
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import Plan, forecast
from fl_sv.progress import Progress
from fl_sv.report import write_missing_report
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, check_destination, existing, start_or_resume
from fl_sv.runs.extend import read_origin, reuse_trainings
from fl_sv.runs.tables import read_evidence
from fl_sv.runs.verify import Verification, verify_run
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import Valuation

BACKENDS = ("ray", "inline")
DATA_FRAMES = ("polars", "pandas")


@dataclass(frozen=True)
class Run:
    """A finished run.

    path: its directory. valuation: every company's value with its interval, and whether the run is
    payable. payouts: cents by company. utilities: the score of every training, in the order of
    utilities.csv. evidence: everything that the payouts rest on.
    """

    path: Path
    valuation: Valuation
    payouts: dict[str, int]
    utilities: tuple[Score, ...]
    evidence: Evidence

    @cached_property
    def law(self) -> Law:
        """The law from the small models' losses to the large one's, fitted to the run's tables."""
        evidence = self.evidence
        return fit_to_table(evidence.config, evidence.table, evidence.sizes, evidence.examples)

    def frame(self, table: str, library: str = "polars") -> Any:
        """One of the run's tables as a data frame.

        table: `utilities`, `companies` (values and intervals) or `payouts`. library: `polars` or
        `pandas`, which must be installed. Raises InputError for any other name.
        """
        rows = {
            "utilities": [asdict(score) for score in self.utilities],
            "companies": [asdict(company) for company in self.valuation.companies],
            "payouts": [{"company": c, "amount_cents": cents} for c, cents in self.payouts.items()],
        }
        if table not in rows:
            raise InputError(f"There is no table {table!r}. {suggestion(table, rows)}")
        if library not in DATA_FRAMES:
            raise InputError(f"There is no library {library!r}. {suggestion(library, DATA_FRAMES)}")
        if library == "pandas":
            import pandas

            return pandas.DataFrame(rows[table])
        import polars

        return polars.DataFrame(rows[table])


def run(
    config: str | Path | Mapping[str, Any] | Config,
    out: str | Path,
    backend: str = "inline",
    resume: bool = False,
) -> Run:
    """Carries out a whole run: teacher, coalitions, law, values, payouts, ledger and report.

    config: a YAML file, its content as a dict (relative data paths are those of the current
    folder), or a Config. out: the run directory, new or empty. backend: `inline`, in this process,
    or `ray`, by Flower's simulation engine. resume: go on with the run in `out`; a finished one is
    read and nothing is trained.

    Raises InputError when anything that was given is wrong, before anything trains; RunError when
    the run stops on its way. What was finished is in the run's journal.
    """
    carry_out(as_config(config), Path(out), backend, resume=resume)
    return read_run(out)


def carry_out(
    config: Config,
    out: Path,
    backend: str,
    *,
    resume: bool = False,
    source: Path | None = None,
    progress: Progress | None = None,
    make_stop: Callable[[], threading.Event] = threading.Event,
) -> RunDirectory:
    """Carries out a run on this machine, as `run` and `fl-sv run` do.

    source: a run with other companies whose trainings are reused. make_stop: called when training
    begins; the event that it returns stops the run when it is set.
    """
    if backend not in BACKENDS:
        raise InputError(f"There is no backend {backend!r}. {suggestion(backend, BACKENDS)}")
    progress = progress or Progress("quiet")
    on_ray = backend == "ray"
    origin = read_origin(source, config) if source else None
    with prepared_run(config, out, resume=resume, on_ray=on_ray) as directory:
        if not directory.finished:
            if origin is not None:
                reused = reuse_trainings(origin, directory)
                progress.say(f"{reused:,} coalitions are reused from {source}.")
            simulation = import_app("server.simulation")
            simulation.simulate(config, directory, backend, progress, make_stop())
    return directory


def read_run(path: str | Path) -> Run:
    """A finished run from its directory. Raises InputError when it is unfinished or damaged."""
    directory = existing(Path(path))
    evidence = read_evidence(directory)
    table = evidence.table
    return Run(
        path=directory.path,
        valuation=Valuation.from_json(directory.read_text(files.VALUATION)),
        payouts=read_payouts(directory.file(files.PAYOUTS)),
        utilities=tuple(table.scores[key] for key in table.planned),
        evidence=evidence,
    )


def plan(config: str | Path | Mapping[str, Any] | Config) -> Plan:
    """What a run of this config will cost. Nothing trains but a few batches of each size.

    Raises InputError as `run` does.
    """
    config = as_config(config)
    return forecast(config, check(config, own_data=own_files_are_here(config)))


def verify(path: str | Path, key: str | Path | None = None) -> Verification:
    """Checks every hash and signature of a run, and computes all of its numbers again.

    key: the owner's public key, which the run must be signed with. Raises VerificationError that
    names every difference, InputError for a bad key or a folder without a run.
    """
    return verify_run(existing(Path(path)), None if key is None else Path(key))


@contextmanager
def prepared_run(
    config: Config, out: Path, *, resume: bool, own_data: bool = True, on_ray: bool = True
) -> Iterator[RunDirectory]:
    """The directory of a run, locked, once everything that can be wrong has been looked at.

    own_data: whether the companies' own files are this machine's to read. When the block ends, the
    report is written if there is none.
    """
    check_destination(out, config, resume=resume)
    if not RunDirectory(out).finished:
        forecast(config, check(config, own_data=own_data), on_ray=on_ray)
        if on_ray and config.ray.address:
            import_app("server.ray").require_head(config.ray.address)
    with start_or_resume(out, config, resume=resume) as directory:
        yield directory
        write_missing_report(directory)


def as_config(config: str | Path | Mapping[str, Any] | Config) -> Config:
    """The validated config. Raises InputError that says what is wrong and where."""
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return config_of(dict(config), "config", Path.cwd())
    return load_config(config)
