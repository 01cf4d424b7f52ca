"""What server and companies say to each other: the names of actions, records and keys, in one place
for both sides.

The library knows no Flower; these are the words that `clients`, `server` and `strategies` put into
Flower's records."""

import io

import numpy as np
from numpy.typing import NDArray

REGISTER = "query.register"  # who are you, how many examples do you hold, which library do you run
TEACHER = (
    "train"  # one round of the large model (the default action: what any Flower Strategy sends)
)
SINGLETON = "train.singleton"  # all rounds of the large model on one company's rows
COALITIONS = "train.coalitions"  # one round of every small model of a wave
# the finished teacher's logits on the company's rows; they stay in its node's state
TEACHER_LOGITS = "query.teacher_logits"
EVALUATE = "evaluate"  # loss of a model on the company's own data

ARRAYS = "arrays"  # ArrayRecord: parameters, keyed by model and replicate
CONFIG = "config"  # ConfigRecord: the task
METRICS = "metrics"  # MetricRecord: counts and seconds

COMPANY = "company"
RUN_CONFIG = (
    "run-config"  # the resolved configuration as JSON; companies never open the config file
)
SCALING = "scaling"  # the task and the operator's scaling of features and targets, as JSON
ROUND = "server-round"  # Flower's own name for it
NUM_EXAMPLES = "num-examples"  # Flower's own name for it
TRAIN_LOSS = "train_loss"  # Flower's own name for it (QFedAvg)
SECONDS = "seconds"
LOSS = "loss"
LOGITS = "teacher-logits"  # record and array in the node's own state; they never travel
FINGERPRINT = "fingerprint"
LIBRARY = "library"
PARTITION = "partition-id"  # Flower's own name for it: which company a simulated node plays
DATA_PATH = "data-path"  # a node's own file, from its node config


def stack_key(model: str, replicate: int) -> str:
    """Name of the array that holds a model's parameters for one replicate."""
    return f"{model}/{replicate}"


def parse_stack_key(key: str) -> tuple[str, int]:
    """Model and replicate of `stack_key`."""
    model, _, replicate = key.rpartition("/")
    return model, int(replicate)


def unpacked(data: bytes) -> NDArray[np.floating]:
    """The array in the bytes of a Flower Array (NumPy's .npy format): a read-only view of them,
    where Flower's own reading copies the bytes twice.

    Raises ValueError when they hold no array of numbers.
    """
    buffer = io.BytesIO(data)
    if (version := np.lib.format.read_magic(buffer)) != (1, 0):
        raise ValueError(f"an array came in version {version} of the .npy format; 1.0 is read")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(buffer)
    numbers = np.frombuffer(data, dtype, offset=buffer.tell())
    array: NDArray[np.floating] = numbers.reshape(shape, order="F" if fortran_order else "C")
    return array
