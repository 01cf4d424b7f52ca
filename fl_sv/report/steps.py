"""How the numbers came about: the run in steps, from the companies' data to the money."""

import math
from dataclasses import dataclass

from fl_sv.config.data import (
    ColumnPartition,
    DirichletPartition,
    IidPartition,
    Partition,
    PathologicalPartition,
    ShardsPartition,
    SizesPartition,
)
from fl_sv.config.models import model_name
from fl_sv.config.schema import Config
from fl_sv.config.students import Distillation
from fl_sv.config.training import Training
from fl_sv.design.rates import rates_in_force
from fl_sv.game.coalitions import EMPTY
from fl_sv.payment.settlement import StudentLoss
from fl_sv.payment.stopping import sample_state_text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.rates import rates_text
from fl_sv.report.wording import counted, enumerated, percent, percent_above, sentence_case

_SEMIVALUES = {
    "shapley": "the Shapley value",
    "banzhaf": "the Banzhaf value",
    "loo": "the leave-one-out value",
}
# Before the learning rate; plain SGD needs no word.
OPTIMIZERS = {"sgd": "", "adam": "Adam, ", "adamw": "AdamW, "}


def semivalue_name(name: str) -> str:
    """A semivalue in a sentence."""
    return _SEMIVALUES.get(name, f"the semivalue {name}")


@dataclass(frozen=True)
class StoryStep:
    """One step from the data to the money."""

    title: str
    text: str


def story_steps(run: FinishedRun, notation: Notation) -> tuple[StoryStep, ...]:
    """The run in steps, in their order."""
    student = student_text(run, notation)
    return (
        _companies(run, notation),
        *([StoryStep("Learning rates", rates_text(run, notation))] if run.evidence.rates else []),
        _teacher(run, notation),
        *([StoryStep("The deployed student", student)] if student else []),
        _sweep(run),
        _large_runs(run),
        _law(run, notation),
        _values(run, notation),
        StoryStep(
            "Money",
            "The pot is divided by the values in exact arithmetic. Everything above is recorded in"
            " the ledger, a chain of signed lines.",
        ),
    )


def student_text(run: FinishedRun, notation: Notation) -> str:
    """The deployed student: what it is, how it learned and how good it is; empty without one."""
    student, distillation = run.evidence.student, run.evidence.config.distillation
    if student is None or distillation is None:
        return ""
    return _student_sentences(student, distillation, notation)


def _student_sentences(student: StudentLoss, distillation: Distillation, notation: Notation) -> str:
    accuracy = (
        ""
        if student.accuracy is None
        else f", and it classifies {percent(student.accuracy)} correctly"
    )
    return (
        f"A student is deployed instead of the teacher: {student.model} with"
        f" {student.parameters:,} parameters. The operator trained it to give the teacher's answers"
        f" (loss {distillation.loss}) on {student.rows:,} rows of the kind {student.transfer_set}."
        " None of these rows belongs to a company or to the validation set. On the validation"
        f" examples its loss is {notation.value(student.loss)} {notation.unit}{accuracy}."
    )


def _companies(run: FinishedRun, notation: Notation) -> StoryStep:
    config, counts = run.evidence.config, run.evidence.examples.values()
    companies = sentence_case(counted(config.n_companies, "company", "companies"))
    return StoryStep(
        "Companies and data",
        f"{companies} registered {notation.examples:,} examples, from {min(counts):,} to"
        f" {max(counts):,} each. The data source is {config.data.source}"
        f"{_partition(config.data.partition)}. The numbers of examples and the fingerprints of the"
        " rows were recorded before the training. The operator holds"
        f" {notation.validation_examples:,} validation examples, which score the models and have no"
        " other use.",
    )


def _teacher(run: FinishedRun, notation: Notation) -> StoryStep:
    evidence, training = run.evidence, run.evidence.config.training
    large = evidence.config.models.large
    rates = rates_in_force(evidence.config, evidence.rates)
    name, loss = model_name(large), notation.value(evidence.curve[-1].loss)
    role = "The deployed model" if evidence.student is None else "The teacher"
    return StoryStep(
        "The large model",
        f"The teacher is {name} with {_parameters(run)}. It is trained on the data"
        f" of all companies in {counted(training.rounds, 'round')}. In each round every company"
        f" {_local_work(training)} in batches of {training.batch_size:,}"
        f" ({OPTIMIZERS[training.optimizer]}learning rate"
        f" {rates[name]:g}, {training.schedule}). The data"
        f" never leave the company. The strategy {evidence.config.teacher.strategy} combines the"
        f" results. {role} is the model of seed 0; its loss is {loss} {notation.unit}.",
    )


def _local_work(training: Training) -> str:
    """What a company does in a round."""
    if training.local_steps is None:
        return f"makes {counted(training.local_epochs, 'pass', 'passes')} over its own data"
    return f"takes {counted(training.local_steps, 'step')} on its own data"


def _parameters(run: FinishedRun) -> str:
    """How many parameters the large model has, and how many of them are trained."""
    if run.trainable == run.parameters:
        return f"{run.parameters:,} parameters"
    return (
        f"{run.parameters:,} parameters, of which {run.trainable:,} are trained and the others stay"
        " as they were made"
    )


def _sweep(run: FinishedRun) -> StoryStep:
    """The small models on the coalitions of the design."""
    evidence, config = run.evidence, run.evidence.config
    *small, large = evidence.table.models
    total = sum(
        len(coalitions) - (EMPTY in coalitions)
        for (model, _), coalitions in evidence.table.planned.items()
        if model in small
    )
    coalitions = len(evidence.table.coalitions(small[-1]))
    rates = rates_in_force(config, evidence.rates)
    only_trained = evidence.sizes[large] == run.trainable < run.parameters
    kind = "trained parameters" if only_trained else "parameters"
    sizes = enumerated(
        [
            f"{model} ({evidence.sizes[model]:,} {kind}, learning rate {rates[model]:g})"
            for model in small
        ]
    )
    n = config.n_companies
    if config.coalitions.design == "all":
        title = "Small models on every coalition"
        design = f"{n} companies form {coalitions:,} coalitions, the empty one included."
    else:
        title = "Small models on a sample of the coalitions"
        design = (
            f"{n} companies form 2 to the power of {n} coalitions, of which {coalitions:,} were"
            " drawn: the empty one, all companies, every single company, all companies but one, and"
            " further pairs of a coalition and all other companies. The run's seed chose these"
            " pairs at random."
        )
    return StoryStep(
        title,
        f"A coalition is a group of companies. {design} Each but the empty one trains the small"
        f" {'model' if len(small) == 1 else 'models'} {sizes} by the same process with"
        f" {counted(config.training.seeds, 'seed')}: {total:,} trainings."
        f" {_students(config)}A failed training stops the run; it never becomes a number.",
    )


def _students(config: Config) -> str:
    """How the small models learn from the teacher, where they are its students."""
    students = config.students
    if students is None:
        return ""
    return (
        "The small models are students of the finished teacher. Each company computed the teacher's"
        " answers to its own rows once. Every small model minimises its own loss with the weight"
        f" {percent(1 - students.weight, 0)}, and the difference between its answers and the"
        f" teacher's (loss {students.loss}) with the weight {percent(students.weight, 0)}. "
    )


def _large_runs(run: FinishedRun) -> StoryStep:
    """On which coalitions the large model was measured."""
    config, coalitions = run.evidence.config, run.law.anchors
    singletons = sum(coalition.bit_count() == 1 for coalition in coalitions)
    leave_one_out = sum(
        1 < coalition.bit_count() == config.n_companies - 1 for coalition in coalitions
    )
    further = len(coalitions) - 2 - singletons - leave_one_out
    trained = ["all companies"]
    if singletons:
        trained.append(counted(singletons, "single company", "single companies"))
    if leave_one_out:
        trained.append(counted(leave_one_out, "coalition", "coalitions") + " of all but one")
    if further:
        trained.append(counted(further, "further coalition"))
    return StoryStep(
        "Large runs",
        f"The large model was trained and measured on {enumerated(trained)}. The untrained model"
        " was measured as well. Each loss is the mean over"
        f" {counted(config.training.large_seeds, 'seed')}.",
    )


def _law(run: FinishedRun, notation: Notation) -> StoryStep:
    law, family = run.law, run.evidence.config.law.family
    sentences = [
        f"The law {law.name} predicts the large model's loss on these coalitions from the small"
        f" models' losses. Each prediction has an interval at the level of {notation.level}."
    ]
    if family != "auto":
        sentences.append(f"The config asks for {family}.")
    sentences.append(
        "The prediction rises with the loss of the largest small model and depends on nothing else."
        if law.increasing
        else "The prediction depends on more than the loss of the largest small model, so"
        " coalitions with equal losses there can differ."
    )
    sentences.append(
        "Where the large model was measured, the measurement counts. It also corrects the"
        " predictions for other coalitions."
    )
    return StoryStep("From small losses to large ones", " ".join(sentences))


def _values(run: FinishedRun, notation: Notation) -> StoryStep:
    valuation, evidence = run.valuation, run.evidence
    semivalue = semivalue_name(valuation.semivalue)
    total = notation.value(valuation.utility_grand - valuation.utility_empty)
    sentences = ["The utility of a coalition is minus its loss."]
    if evidence.config.coalitions.design == "all":
        sentences.append(f"Each company's value is {semivalue} of these utilities.")
    else:
        assert run.sample is not None, "only a design of all coalitions has no sample"
        ended = sample_state_text(run.sample, evidence.config.payouts)
        sentences.append(
            f"Each company's value is {semivalue}, estimated from the utilities of the sample."
        )
        if valuation.sampling_share:
            sentences.append(
                "Another sample would change the values: this part is at most"
                f" {percent_above(valuation.sampling_share)} of the variance of an interval."
            )
        sentences.append(f"{sentence_case(ended)}.")
    sentences.append(f"The total improvement is {total} {notation.unit}.")
    if valuation.semivalue != "shapley":
        added = notation.value(math.fsum(company.value for company in valuation.companies))
        sentences.append(f"The values add up to {added} {notation.unit}.")
    return StoryStep("Values", " ".join(sentences))


def _partition(partition: Partition | None) -> str:
    match partition:
        case IidPartition() | SizesPartition():
            return ", divided among the companies at random"
        case DirichletPartition():
            return (
                ", divided among the companies with label skew (Dirichlet distribution, alpha"
                f" {partition.alpha:g})"
            )
        case PathologicalPartition():
            classes = counted(partition.classes, "class", "classes")
            return f", divided among the companies by label, {classes} each"
        case ShardsPartition():
            shards = counted(partition.shards, "shard")
            return f", cut by label into shards, {shards} for each company at random"
        case ColumnPartition():
            return f", divided by the owner in the column {partition.column}"
        case None:
            return ""
