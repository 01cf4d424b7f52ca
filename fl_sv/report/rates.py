"""The learning rates that the run chose: how, which, and what must be known about them."""

from fl_sv.config.models import RATE_FACTORS, model_name
from fl_sv.data.federation import few_tuning_sentence
from fl_sv.design.rates import TriedRate, TriedRates
from fl_sv.report.blocks import PageTable
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.wording import counted, enumerated


def rates_text(run: FinishedRun, notation: Notation) -> str:
    """How the learning rates were chosen; empty where the config states all of them."""
    rates = run.evidence.rates
    if rates is None:
        return ""
    large = model_name(rates.config.models.large)
    large_rate = "takes the rate with the lowest loss"
    if large not in rates.chosen:
        large_rate = "has the rate that the config states"
    taken = [f"{model} takes {rate:g}" for model, rate in rates.chosen.items()]
    return (
        f"The config leaves {counted(len(taken), 'learning rate')} to the run. For each,"
        f" {counted(len(RATE_FACTORS), 'rate')} were tried: all companies trained the model by"
        f" FedAvg, with a seed of its own, and the operator scored it on {rates.rows:,} rows that"
        f" have no other use. The large model {large_rate}; there it gains"
        f" {notation.value(rates.taken[large].gain)} {notation.unit}. A small model takes the rate"
        f" at which it gains nearest to that. So {enumerated(taken)}."
    )


def rates_table(run: FinishedRun, notation: Notation) -> PageTable | None:
    """Every rate that was tried; None where the config states all of them."""
    rates = run.evidence.rates
    if rates is None:
        return None

    def row(each: TriedRate) -> tuple[str, ...]:
        loss, gain = "diverged", "-"
        if each.loss is not None:
            loss, gain = notation.value(each.loss), notation.value(each.gain)
        return each.model, f"{each.rate:g}", loss, gain, "taken" if rates.takes(each) else ""

    return PageTable(
        caption=f"Learning rates on trial, on {rates.rows:,} rows that pay nothing",
        head=("Model", "Learning rate", "Loss", "Gain", ""),
        rows=tuple(row(each) for each in rates.tried),
        source="rates.csv",
    )


def rates_remarks(rates: TriedRates) -> tuple[str, ...]:
    """What chose on few rows, which rates diverged, and where a better one may lie."""
    few = few_tuning_sentence(rates.rows)
    return (*([few] if few else []), *_diverged(rates), *_at_the_end(rates))


def _diverged(rates: TriedRates) -> list[str]:
    left_out = [
        f"{each.rate:g} of {each.model} (round {each.rounds}"
        f"{f', first at {each.company}' if each.company else ''})"
        for each in rates.tried
        if each.loss is None
    ]
    if not left_out:
        return []
    return [f"Learning rates at which the training diverged were left out: {enumerated(left_out)}."]


def _at_the_end(rates: TriedRates) -> list[str]:
    ends = []
    for model, rate in rates.chosen.items():
        tried = [each.rate for each in rates.of(model)]
        if rate == tried[0]:
            ends.append(f"{model} takes the lowest, {rate:g}")
        elif rate == tried[-1]:
            ends.append(f"{model} takes the highest, {rate:g}")
    if not ends:
        return []
    return [
        f"Of the learning rates that were tried, {enumerated(ends)}: one beyond it may be better."
        " Another training.learning_rate moves the rates that are tried."
    ]
