"""The names in the messages between server and companies: actions, records and keys.

The library imports no Flower. `clients`, `server` and `strategies` put these names into Flower's
messages, records and node configs.
"""

import io

import numpy as np
from numpy.typing import NDArray

# --- message types --------------------------------------------------------------------------------

# The company's name, number of examples, fingerprint and library.
REGISTER = "query.register"
# One round of the large model; the default action, which every Flower Strategy sends.
TEACHER = "train"
# All rounds of the large model on one company's rows: the large run of a singleton.
SINGLETON = "train.singleton"
# One round of the small models of a wave, or of the large model in a wave of large runs.
COALITIONS = "train.coalitions"
# The finished teacher's logits on the company's rows; they stay in the state of its node.
TEACHER_LOGITS = "query.teacher_logits"
# The loss of a model on the company's rows.
EVALUATE = "evaluate"

# --- records of a message -------------------------------------------------------------------------

ARRAYS = "arrays"  # ArrayRecord: parameters, by model and replicate
CONFIG = "config"  # ConfigRecord: the briefing
METRICS = "metrics"  # MetricRecord: counts and seconds

# --- keys of a record -----------------------------------------------------------------------------

COMPANY = "company"
RUN_CONFIG = "run-config"  # the resolved config as JSON; companies never open the config file
SCALING = "scaling"  # the task, and the operator's scaling of features and targets, as JSON
ROUND = "server-round"  # Flower's name
NUM_EXAMPLES = "num-examples"  # Flower's name
TRAIN_LOSS = "train_loss"  # Flower's name (QFedAvg)
SECONDS = "seconds"
LOSS = "loss"
RATES = "learning-rates"  # those that the run chooses or tries, by model, as JSON
FINGERPRINT = "fingerprint"
LIBRARY = "library"

# --- a node's own state and config ----------------------------------------------------------------

LOGITS = "teacher-logits"  # record and array in the state; they never travel
PARTITION = "partition-id"  # Flower's name: the number of the company that a simulated node plays
DATA_PATH = "data-path"  # the node's own data file


def candidate(model: str, learning_rate: float) -> str:
    """What a model is called in messages while it trains at a learning rate that is tried."""
    return f"{model}@{learning_rate!r}"


def stack_key(model: str, replicate: int) -> str:
    """The name of the array that holds a model's parameters for one replicate."""
    return f"{model}/{replicate}"


def is_candidate(name: str) -> bool:
    """Whether it is the name of a `candidate`: no model's own name holds the sign."""
    return "@" in name


def model_of(name: str) -> str:
    """The model that a name in messages means.

    >>> model_of(candidate("mlp-16", 0.2)), model_of("mlp-16")
    ('mlp-16', 'mlp-16')
    """
    return name.partition("@")[0]


def parse_stack_key(key: str) -> tuple[str, int]:
    """The model and the replicate of a `stack_key`.

    >>> parse_stack_key(stack_key("mlp-16", 2))
    ('mlp-16', 2)
    """
    model, _, replicate = key.rpartition("/")
    return model, int(replicate)


def unpacked(data: bytes) -> NDArray[np.floating]:
    """The array in the bytes of a Flower Array, which are NumPy's .npy format.

    It is a read-only view of the bytes; Flower's own reading copies them twice. Raises ValueError
    when they hold no array of numbers.
    """
    buffer = io.BytesIO(data)
    version = np.lib.format.read_magic(buffer)
    if version != (1, 0):
        raise ValueError(f"an array came in version {version} of the .npy format; 1.0 is read")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(buffer)
    numbers = np.frombuffer(data, dtype, offset=buffer.tell())
    array: NDArray[np.floating] = numbers.reshape(shape, order="F" if fortran_order else "C")
    return array
