"""What is timed: the models of the aims, and others of many kinds and sizes."""

from benchmarks.architectures.measure import Case

IMAGES = (1, 28, 28)
ROWS = [
    *(
        Case({"model": "cnn", "width": w, "places": None}, "cnn", IMAGES, {"channels": [w, 2 * w]})
        for w in (2, 4, 8)
    ),
    *(
        Case(
            {"model": "transformer", "width": width, "places": places},
            "transformer",
            (places,),
            {"width": width, "dropout": 0.0},
            ids=True,
        )
        for places in (8, 64)
        for width in (8, 16, 32)
    ),
]


def _tokens(name: str, kind: str, places: int, **options: object) -> Case:
    return Case({"model": name, "places": places}, kind, (places,), dict(options), ids=True)


OTHERS = [
    Case({"model": "LeNet"}, "lenet", IMAGES, {}),
    Case({"model": "residual network, width 8"}, "residual", (3, 32, 32), {"width": 8}),
    Case({"model": "residual network, width 32"}, "residual", (3, 32, 32), {"width": 32}),
    Case({"model": "CNN, width 32"}, "cnn", IMAGES, {"channels": [32, 64]}),
    Case({"model": "convolutions of signals"}, "signals", (4, 128), {"width": 8}),
    Case({"model": "tower with dropout"}, "tower", (30,), {"width": 32}),
    Case({"model": "wide tower"}, "tower", (784,), {"width": 256}),
    _tokens("two encoder layers, dropout", "transformer", 16, width=16, layers=2, dropout=0.1),
    _tokens(
        "norm first, GELU",
        "transformer",
        24,
        width=24,
        norm_first=True,
        activation="gelu",
        dropout=0.0,
    ),
    _tokens("causal, by hand", "causal", 32, width=32, heads=4),
    _tokens("transformer, width 128", "transformer", 8, width=128, dropout=0.0),
    _tokens("transformer, 256 places", "transformer", 256, width=16, dropout=0.0),
]
