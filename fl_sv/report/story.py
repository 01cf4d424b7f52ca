"""How the numbers came about: the run in steps, the law's parameters, the cost, the ledger, and all
disclaimers.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from fl_sv.config.data import (
    ColumnPartition,
    DirichletPartition,
    IidPartition,
    Partition,
    SizesPartition,
)
from fl_sv.config.models import model_name
from fl_sv.config.schema import Config
from fl_sv.config.students import Distillation
from fl_sv.game.coalitions import EMPTY
from fl_sv.payment.settlement import StudentLoss
from fl_sv.payment.stopping import sample_state, sample_state_text
from fl_sv.report.facts import Facts, Grid
from fl_sv.report.figures import FIGURES
from fl_sv.report.source import Tables
from fl_sv.report.wording import counted, decimal, enumerated, percent, scaled, sentence_case, short
from fl_sv.runs.cost import StageCost

_STAGES = {
    "teacher": "Teacher (large model, all companies)",
    "student": "Student (deployed; the operator's)",
    "sweep": "Sweep (small models, coalitions)",
    "anchors": "Anchors (large model, few coalitions)",
    "rest": "Rest (joining, law, tables)",
}

_SEMIVALUES = {
    "shapley": "the Shapley value",
    "banzhaf": "the Banzhaf value",
    "loo": "what is lost without it",
}


@dataclass(frozen=True)
class Step:
    """One arrow from the data to the money."""

    title: str
    text: str


def steps(tables: Tables, facts: Facts) -> tuple[Step, ...]:
    return (
        _companies(tables, facts),
        _teacher(tables, facts),
        *_student(tables, facts),
        _sweep(tables),
        _anchors(tables),
        _law(tables, facts),
        _values(tables, facts),
        Step(
            "Money",
            "The pot is divided by the values in exact arithmetic. All of the above is recorded in"
            " a chain of signed lines, the ledger.",
        ),
    )


def law_grid(tables: Tables) -> Grid:
    """The law's parameters and diagnostics as it reports them, with what each says."""
    law = tables.law
    named = [*law.parameters.items(), *law.diagnostics.items()]
    return Grid(
        caption="The law's own numbers",
        head=("Name", "Value", "What it says"),
        rows=tuple(
            (name, short(value), sentence_case(FIGURES.get(name, ""))) for name, value in named
        ),
        source="law.json",
        text_columns=True,
    )


def cost_grid(tables: Tables) -> Grid:
    stages = {_STAGES.get(name, name): cost for name, cost in tables.cost.stages.items()}

    def row(name: str, cost: StageCost) -> tuple[str, ...]:
        return (
            name,
            decimal(cost.seconds, 1),
            decimal(cost.company_seconds, 1),
            decimal(cost.bytes / 1e6, 1),
            scaled(cost.flops, "FLOP"),
        )

    return Grid(
        caption="Cost by stage",
        head=("Stage", "Seconds", "Companies' seconds", "Messages, MB", "Arithmetic"),
        rows=tuple(row(name, cost) for name, cost in stages.items()),
        foot=row("Sum", tables.cost.total),
        source="cost.json",
    )


def cost_words(tables: Tables) -> tuple[str, ...]:
    words = [
        "Measured while the run went, over all resumptions. Seconds are time on the clock,"
        " companies' seconds what the companies spent on training, added up. FLOP counts"
        " multiplications and additions. These numbers are hashed in the ledger but cannot be"
        " computed again."
    ]
    share = tables.cost.sweep_share_of_teacher_flops
    if share is not None:
        words.append(
            "The sweep over the coalitions took"
            f" {decimal(share, 2 if share < 10 else 0)} times the"
            " arithmetic of training the teacher itself."
        )
    return tuple(words)


def ledger_grid(tables: Tables) -> Grid:
    return Grid(
        caption="Sections of the ledger",
        head=("Section", "Command", "Time", "Signer's fingerprint"),
        rows=tuple(
            (str(s.number), f"fl-sv {s.command}", _time(s.time), s.signer)
            for s in tables.ledger.sections
        ),
        source="ledger.jsonl",
        text_columns=True,
    )


def limits(tables: Tables, facts: Facts) -> tuple[str, ...]:
    """What the report does not promise."""
    missed = percent(1 - tables.valuation.level, 1 if "." in facts.level else 0)
    return (
        (
            "It does not say that the law is true. It says which checks were made and which of them"
            " raised an alarm; a check that was not made might have raised one."
        ),
        (
            f"Each interval stands alone: about {missed} of such intervals miss, so among many"
            " companies some will. They cover other training seeds, other validation examples and,"
            " where a sample was drawn, other coalitions; not another partition of the data."
        ),
        (
            "Values hold for this large model, this way of training and this validation set. They"
            " are no market price, and they can change with the task or with another company"
            " joining."
        ),
        (
            "Nobody has checked that a company may use its data, or that the rows it registered are"
            " true. Wrong data shows in the value only as far as it changes the model."
        ),
        (
            "The hash chain and the signatures show that nothing was changed after it was signed."
            " They do not show that what was signed is true, nor that the whole directory was not"
            " signed anew by somebody else: for that, compare the signer's fingerprint."
        ),
        "This page is not signed itself. What counts are the tables and the ledger that it quotes.",
        "This page is no legal advice; what is owed follows from the companies' contract.",
    )


def _companies(tables: Tables, facts: Facts) -> Step:
    config, counts = tables.evidence.config, tables.evidence.examples.values()
    divided = _partition(config.data.partition)
    return Step(
        "Companies and data",
        f"{counted(config.n_companies, 'company', 'companies').capitalize()} registered"
        f" {min(counts):,} to {max(counts):,} examples, {facts.examples:,} in all (data:"
        f" {config.data.source}{divided}). Counts and fingerprints were recorded before anything"
        f" was trained. The operator keeps {facts.validation_examples:,} validation examples of its"
        " own; they score models and serve nothing else.",
    )


def _teacher(tables: Tables, facts: Facts) -> Step:
    evidence, training = tables.evidence, tables.evidence.config.training
    large = model_name(evidence.config.models.large)
    return Step(
        "The large model",
        f"The teacher, {large} with {evidence.sizes[large]:,} parameters, is trained on all"
        f" companies' data in {counted(training.rounds, 'round')}. In each, every company makes"
        f" {counted(training.local_epochs, 'pass', 'passes')} over its own data in batches of"
        f" {training.batch_size:,} (learning rate"
        f" {_rate(evidence.config.models.large.learning_rate, training.learning_rate)},"
        f" {training.schedule}); its data never leave it. The results are combined by the strategy"
        f" {evidence.config.teacher.strategy}."
        f" {'Deployed' if evidence.student is None else 'The teacher'} is the model of seed 0, with"
        f" a loss of {facts.value(evidence.curve[-1].loss)} {facts.unit}.",
    )


def _student(tables: Tables, facts: Facts) -> tuple[Step, ...]:
    """What is deployed in the teacher's place, if anything is."""
    student, distillation = tables.evidence.student, tables.evidence.config.distillation
    if student is None or distillation is None:
        return ()
    return (Step("The deployed student", student_words(student, distillation, facts)),)


def student_words(student: StudentLoss, distillation: Distillation, facts: Facts) -> str:
    """Who it is, how it learned and how good it is."""
    hits = (
        ""
        if student.accuracy is None
        else f", and it classifies {percent(student.accuracy)} rightly"
    )
    return (
        f"Deployed in the teacher's place is a student, {student.model} with {student.parameters:,}"
        " parameters. The operator trained it to answer as the teacher does (loss"
        f" {distillation.loss}) on {student.rows:,} rows of the kind {student.transfer_set}, none"
        " of them a company's or from the validation set. Its loss on the validation examples is"
        f" {facts.value(student.loss)} {facts.unit}{hits}."
    )


def _anchors(tables: Tables) -> Step:
    config, anchors = tables.evidence.config, tables.law.anchors
    alone = sum(coalition.bit_count() == 1 for coalition in anchors)
    measured = ["untrained", "trained by all companies"]
    if alone:
        measured.append(f"trained by each of {alone} companies alone")
    all_but_one = sum(1 < coalition.bit_count() == config.n_companies - 1 for coalition in anchors)
    if all_but_one:
        measured.append(f"trained by all companies but one ({all_but_one} times)")
    further = len(anchors) - 2 - alone - all_but_one
    if further:
        measured.append(f"trained by {counted(further, 'further coalition')}")
    return Step(
        "Measured points of the large model",
        f"The large model's loss is measured {enumerated(measured)}, "
        f"as the mean over {counted(config.training.large_seeds, 'seed')}.",
    )


def _sweep(tables: Tables) -> Step:
    evidence = tables.evidence
    *small, _large = evidence.table.models
    trained = Counter(model for model, _, coalition in evidence.table.planned if coalition != EMPTY)
    coalitions = len(
        {coalition for model, _, coalition in evidence.table.planned if model == small[-1]}
    )
    total = sum(trained[model] for model in small)
    common = evidence.config.training.learning_rate
    rates = [_rate(model.learning_rate, common) for model in evidence.config.models.small]
    sizes = enumerated(
        [
            f"{model} ({evidence.sizes[model]:,} parameters, learning rate {rate})"
            for model, rate in zip(small, rates, strict=True)
        ]
    )
    n = evidence.config.n_companies
    if evidence.config.coalitions.design == "all":
        title = "Small models on every coalition"
        who = f"{n} companies form {coalitions:,}, nobody at all included. Each trains"
    else:
        title = "Small models on a sample of the coalitions"
        who = (
            f"{n} companies form 2 to the power of {n}, of which {coalitions:,} were drawn: nobody,"
            " everybody, every company alone, everybody but one, and further pairs of a coalition"
            " and all others, at random by the run's seed. Each trains"
        )
    return Step(
        title,
        f"A coalition is a group of companies; {who} the small"
        f" {'model' if len(small) == 1 else 'models'} {sizes} by the same process with"
        f" {counted(evidence.config.training.seeds, 'seed')}: {total:,} trainings."
        f" {_listening(evidence.config)}A training that failed stops the run; it never becomes a"
        " number.",
    )


def _listening(config: Config) -> str:
    students = config.students
    if students is None:
        return ""
    return (
        "They are students of the finished teacher: each company asked it once about its own rows,"
        f" and every model minimises {percent(1 - students.weight, 0)} its own loss and"
        f" {percent(students.weight, 0)} the loss {students.loss} between its answers and the"
        " teacher's. "
    )


def _law(tables: Tables, facts: Facts) -> Step:
    law = tables.law
    reads = "It reads more than the loss of the largest small model, so equal losses there may part"
    if law.increasing:
        reads = "It rises with the loss of the largest small model and reads nothing else"
    if tables.evidence.config.law.family != "auto":
        reads = f"The config asks for {tables.evidence.config.law.family}. {reads}"
    return Step(
        "From small losses to large ones",
        f"The law {law.name} predicts the large model's loss on these coalitions from the small"
        f" models' losses, each with an interval at the level of {facts.level}. {reads}. Where the"
        " large model was measured, the measurement itself is used, and what it tells about other"
        " coalitions.",
    )


def _values(tables: Tables, facts: Facts) -> Step:
    valuation = tables.valuation
    if tables.evidence.config.coalitions.design == "all":
        follows, chance = "From all utilities follows", ""
    else:
        follows = "From the sample's utilities is estimated"
        rules, state = tables.evidence.config.payouts, sample_state(tables.evidence)
        chance = (
            " What another sample would have changed is part of each interval, at most "
            f"{percent(valuation.sampling_share, 0)} of its variance. By the config's rules "
            f"{sample_state_text(state, rules)}."
        )
    return Step(
        "Values",
        f"The utility of a coalition is minus its loss. {follows} each company's value,"
        f" {_SEMIVALUES.get(valuation.semivalue, 'the semivalue ' + valuation.semivalue)}, out of a"
        f" total of {facts.value(valuation.utility_grand - valuation.utility_empty)}"
        f" {facts.unit}.{chance}",
    )


def _partition(partition: Partition | None) -> str:
    match partition:
        case IidPartition() | SizesPartition():
            return ", divided among the companies at random"
        case DirichletPartition():
            return (
                f", divided with label skew by a Dirichlet distribution, alpha {partition.alpha:g}"
            )
        case ColumnPartition():
            return f", divided by the owner named in the column {partition.column}"
        case None:
            return ""


def _time(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _rate(own: float | None, common: float) -> str:
    return f"{common if own is None else own:g}"
