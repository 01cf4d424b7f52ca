"""What the sections `training` and `data.inputs` must agree on with the models.

Every check raises ValueError with one message: where, what is wrong, what is allowed.
"""

from collections.abc import Iterator

from fl_sv.config.data import BUILT_IN_SOURCES, Data
from fl_sv.config.models import Model, Models, Teacher, optimizer_of, rates_of
from fl_sv.config.strategies import STRATEGIES
from fl_sv.config.students import Distillation
from fl_sv.config.training import OPTIONS, OptimizerOptions, Training


def check_training(
    training: Training, models: Models, teacher: Teacher, distillation: Distillation | None
) -> None:
    """The optimiser has the options that are given, and no step of it overshoots."""
    if training.warmup_rounds >= training.rounds:
        raise ValueError(
            f"training.warmup_rounds: {training.warmup_rounds} given, of {training.rounds} rounds;"
            " the rate has to reach its full height before the last round, so give fewer, or more"
            " rounds"
        )
    pull = 0.0
    if teacher.strategy == "fedprox":
        pull = float(teacher.options.get("proximal_mu", 0.0))
    _check_options("training", training, training.optimizer)
    for place, model in _models(models, distillation):
        if own := model.optimizer_options:
            _check_options(f"{place}.optimizer_options", own, training.optimizer)
        _check_step(model, training, pull)
        _check_average(place, model, teacher)


def _models(models: Models, distillation: Distillation | None) -> Iterator[tuple[str, Model]]:
    """Every model with its place in the config."""
    for index, model in enumerate(models.small):
        yield f"models.small[{index}]", model
    yield "models.large", models.large
    if distillation is not None and distillation.deployed is not None:
        yield "distillation.deployed.model", distillation.deployed.model


def _check_options(place: str, given: Training | OptimizerOptions, optimizer: str) -> None:
    foreign = {name for names in OPTIONS.values() for name in names} - {*OPTIONS[optimizer]}
    for name in sorted(foreign):
        value = getattr(given, name)
        if value is not None and value != Training.model_fields[name].default:
            owners = " and ".join(kind for kind, names in OPTIONS.items() if name in names)
            own = ", ".join(OPTIONS[optimizer])
            shown = [*value] if isinstance(value, tuple) else value
            raise ValueError(
                f"{place}.{name}: {shown} given, but {optimizer} has no such option; it takes"
                f" {own}, weight_decay and clip_norm. Leave it out; {owners} (training.optimizer)"
                f" {'have' if ' and ' in owners else 'has'} it"
            )


def _check_step(model: Model, training: Training, pull: float) -> None:
    """No step overshoots so far that the weights grow without bound.

    A step of SGD multiplies a weight that nothing else moves by 1 - rate (decay + mu), with the
    decay of `weight_decay` and FedProx's pull mu towards the received model. With momentum m these
    steps diverge beyond 2 (1 + m) (Polyak 1964). AdamW's step multiplies it by 1 - rate decay;
    Adam's is never longer than about the rate.
    """
    optimizer = optimizer_of(model, training)
    rate = rates_of(model, training)[0]  # of those that are tried, those that diverge are left out
    shrinks = {"sgd": optimizer.weight_decay + pull, "adamw": optimizer.weight_decay}
    factor = shrinks.get(optimizer.kind, 0.0)
    most = 2 * (1 + optimizer.momentum)
    if rate * factor > most:
        raise ValueError(
            f"training: the learning rate {rate:g} times the pull of weight_decay and proximal_mu"
            f" ({factor:g}) is beyond {most:g}, so every step overshoots and"
            " the training diverges; lower one of them"
        )


def _check_average(place: str, model: Model, teacher: Teacher) -> None:
    """Products of adapters are averaged by FedAvg; other strategies know of no products."""
    allowed = [name for name, strategy in STRATEGIES.items() if strategy.is_the_game]
    averaged = model.kind == "pretrained" and model.average == "product"
    if averaged and teacher.strategy not in allowed:
        raise ValueError(
            f"{place}.average: product given, and teacher.strategy is {teacher.strategy}, which"
            f" averages numbers one by one; the products of adapters are averaged by"
            f" {' and '.join(allowed)} alone"
        )


def check_inputs(data: Data, models: Models, distillation: Distillation | None) -> None:
    """Only real numbers are scaled, are noisy, and go into the built-in models."""
    placed = [*_models(models, distillation)]
    pretrained = [place for place, model in placed if model.kind == "pretrained"]
    if pretrained and data.inputs != "ids":
        raise ValueError(
            f"{pretrained[0]}: a pretrained transformer takes the ids of tokens; set `data.task:"
            " next_token`, or `data.inputs: ids`"
        )
    if data.inputs == "numbers":
        return
    if data.source in BUILT_IN_SOURCES:
        raise ValueError(
            f"data.inputs: {data.source} has real numbers in one array; leave the key out"
        )
    if data.columns:
        raise ValueError(
            "data.columns: it describes what is made into real numbers; leave the key out, or"
            " data.inputs"
        )
    if data.standardise:
        raise ValueError(
            "data.standardise: only `data.inputs: numbers` are scaled; leave one of the keys out"
        )
    if any(corruption.kind == "feature_noise" for corruption in data.corruptions):
        raise ValueError(
            "data.corruptions: feature_noise is for `data.inputs: numbers`; leave it out"
        )
    for place, model in placed:
        if model.kind not in ("module", "pretrained"):
            raise ValueError(
                f"{place}: a model of the kind {model.kind} takes `data.inputs: numbers`; give a"
                " module of yours (kind: module) or a pretrained one, or leave data.inputs out"
            )
    if distillation is not None and distillation.deployed is not None:
        raise ValueError(
            "distillation.deployed: a student learns on rows of real numbers (data.inputs:"
            " numbers); deploy the teacher"
        )
