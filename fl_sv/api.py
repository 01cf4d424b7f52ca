"""The interface for Python: what the commands do, as functions that return records.

    >>> import fl_sv
    >>> run = fl_sv.run("configs/smoke.yaml", "runs/first")  # doctest: +SKIP
    >>> run.payouts  # doctest: +SKIP
    {'Ash': 357702, 'Beech': 318701, 'Chestnut': 218882, 'Damson': 104715}

Every error is an exception of `fl_sv.errors`: InputError for wrong input, RunError for a run that
stopped, VerificationError for a run that differs from what was signed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fl_sv.app import import_app, require_ray
from fl_sv.config import Config, config_of, load_config
from fl_sv.data import own_files_are_here
from fl_sv.errors import InputError, suggestion
from fl_sv.game.scores import Score
from fl_sv.law import Law
from fl_sv.payment.payouts import read_payouts
from fl_sv.payment.settlement import Evidence
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import Plan, forecast
from fl_sv.plugins import find_modules_in
from fl_sv.progress import Progress
from fl_sv.report import write_missing_report
from fl_sv.runs import files
from fl_sv.runs.directory import (
    RunDirectory,
    check_destination,
    existing,
    path_of,
    start_or_resume,
)
from fl_sv.runs.extend import read_origin, reuse_trainings
from fl_sv.runs.held import require_fitting
from fl_sv.runs.tables import read_evidence
from fl_sv.runs.verify import Verification, verify_run
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import Valuation

BACKENDS = ("ray", "inline")
DATA_FRAMES = ("polars", "pandas")


@dataclass(frozen=True)
class Run:
    """A finished run, as plain records.

    path: the run directory.
    valuation: every company's value with its interval, and whether the run is payable.
    payouts: what each company is paid, in cents (the smallest unit of the currency).
    evidence: everything that the payouts rest on.

    >>> run = read_run("runs/first")  # doctest: +SKIP
    >>> [(each.name, round(each.value, 4)) for each in run.valuation.companies]  # doctest: +SKIP
    [('Ash', 0.7304), ('Beech', 0.6508), ('Chestnut', 0.4469), ('Damson', 0.2138)]
    """

    path: Path
    valuation: Valuation
    payouts: dict[str, int]
    evidence: Evidence

    @cached_property
    def utilities(self) -> tuple[Score, ...]:
        """The score of every training, in the order of utilities.csv."""
        return tuple(self.evidence.table.scores.values())

    @cached_property
    def law(self) -> Law:
        """The law from the small models' losses to the large one's, fitted to the run's tables.

        It is fitted at the first use. Raises InputError when a law of the user's own cannot be
        imported.
        """
        evidence = self.evidence
        return fit_to_table(
            evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
        )

    def frame(self, table: str, library: str = "polars") -> Any:
        """One of the run's tables as a data frame.

        table: `utilities`, `companies` (values and intervals) or `payouts`.
        library: `polars` or `pandas`; it must be installed.

        Raises InputError for any other name.
        """
        rows = {
            "utilities": [asdict(score) for score in self.utilities],
            "companies": self.valuation.rows(self.evidence.config.names),
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

    config: a YAML file, its content as a dict, or a Config. In a dict, relative data paths start at
        the current folder.
    out: the run directory, new or empty.
    backend: `inline` runs the companies as threads of this process, `ray` runs them on Flower's
        simulation engine.
    resume: continues the run in `out`. If that run is finished, it is read and nothing trains.

    Raises InputError for wrong input, before anything trains. Raises RunError when the run stops;
    the journal in `out` keeps what was finished, and `resume` continues from there.

    >>> run = run("configs/smoke.yaml", "runs/first")  # doctest: +SKIP
    >>> run.valuation.payable, run.payouts["Ash"]  # doctest: +SKIP
    (True, 357702)
    """
    if not isinstance(resume, bool):
        raise InputError(f"resume is {resume!r}; allowed are True and False.")
    carry_out(as_config(config), path_of(out, "out"), backend, resume=resume)
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
    """Carries out a run on this machine and returns its directory: `run` and `fl-sv run` call it.

    config, out, backend, resume: as in `run`.
    source: the directory of a finished run with other companies, whose trainings are reused.
    progress: where the stages report; without it nothing is shown.
    make_stop: called when training begins. The run stops when the event that it returns is set.

    Raises InputError and RunError as `run` does, VerificationError when `source` differs from what
    its ledger signed.
    """
    if backend not in BACKENDS:
        raise InputError(f"There is no backend {backend!r}. {suggestion(backend, BACKENDS)}")
    progress = progress or Progress("quiet")
    on_ray = backend == "ray"
    if on_ray:
        require_ray()
    origin = read_origin(source, config) if source else None
    with prepared_run(config, out, resume=resume, on_ray=on_ray, say=progress.say) as directory:
        if not directory.finished:
            if origin is not None:
                reused = reuse_trainings(origin, directory)
                progress.say(f"{reused:,} coalitions are reused from {source}.")
            simulation = import_app("server.simulation")
            simulation.simulate(config, directory, backend, progress, make_stop())
    return directory


def read_run(path: str | Path) -> Run:
    """The finished run in the directory `path`.

    Its tables are read, not verified: `verify` does that. Raises InputError when the run is
    unfinished or a table is damaged.

    >>> read_run("runs/first").law.alarms  # doctest: +SKIP
    []
    """
    directory = existing(path_of(path, "path"))
    require_fitting(directory)
    evidence = read_evidence(directory)
    return Run(
        path=directory.path,
        valuation=Valuation.from_json(directory.read_text(files.VALUATION)),
        payouts=read_payouts(directory.file(files.PAYOUTS)),
        evidence=evidence,
    )


def plan(config: str | Path | Mapping[str, Any] | Config) -> Plan:
    """What a run of this config will cost: trainings, messages, bytes, memory and seconds.

    config: as in `run`. To learn how fast this machine is, a few batches of each size are trained.

    Raises InputError when the config or its data are wrong, or when the run would need more memory
    or time than there is.

    >>> plan("configs/smoke.yaml").trainings  # doctest: +SKIP
    65
    """
    config = as_config(config)
    return forecast(config, check(config, own_data=own_files_are_here(config)))


def verify(path: str | Path, key: str | Path | None = None) -> Verification:
    """Checks every hash and signature of a run, and computes all of its numbers again.

    path: the run directory.
    key: the file of the owner's public key. Every section of the ledger must be signed with it.
        Without a key any signer passes.

    Raises VerificationError that names every difference, InputError for a bad key or a folder
    without a run.

    >>> verify("runs/first", key="owner.pub").payable  # doctest: +SKIP
    True
    """
    pinned = None if key is None else path_of(key, "key")
    return verify_run(existing(path_of(path, "path")), pinned)


@contextmanager
def prepared_run(
    config: Config,
    out: Path,
    *,
    resume: bool,
    own_data: bool = True,
    on_ray: bool = True,
    say: Callable[[str], None] = lambda sentence: None,
) -> Iterator[RunDirectory]:
    """A context with the locked directory of a run, after all checks of config, data and machine.

    own_data: whether this machine may read the companies' own files.
    on_ray: whether the run uses Ray, for the forecast of memory and time.
    say: called with each remark on the data.

    When the block ends, the report is written if there is none. Raises InputError for wrong input.
    """
    check_destination(out, config, resume=resume)
    if not RunDirectory(out).finished:
        for remark in forecast(config, check(config, own_data=own_data), on_ray=on_ray).remarks:
            say(remark)
        if on_ray and config.ray.address:
            import_app("server.ray").require_head(config.ray.address)
    with start_or_resume(out, config, resume=resume) as directory:
        yield directory
        write_missing_report(directory)


def as_config(config: str | Path | Mapping[str, Any] | Config) -> Config:
    """The validated config: from a YAML file, from its content as a dict, or as it is.

    From here on `module:function` in the config may name a module that lies beside the file or in
    the current folder. Raises InputError that names the key, what was given and what is allowed.
    """
    if isinstance(config, str | Path):
        find_modules_in(Path(config).resolve().parent)
    find_modules_in(Path.cwd())
    match config:
        case Config():
            return config
        case Mapping():
            return config_of(dict(config), "config", Path.cwd())
        case str() | Path():
            return load_config(config)
    raise InputError(
        f"config is a {type(config).__name__}; allowed are the path of a YAML file, its content as"
        " a dict, or a Config."
    )
