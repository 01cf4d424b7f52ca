"""Where the time of a sweep goes: seconds by what is done, in one process, and what Flower and Ray
add.
"""

import cProfile
import pstats
from collections import Counter

from flwr.app import Context, Message

from benchmarks.sweep.sweeps import game, in_one_process, on_ray_whole
from clients.app import app as client_app
from fl_sv.machine import keep_freed_memory, use_threads

# What a function does besides what is listed as its part: (file, function, parts).
STAGES = {
    "batches": ("sgd.py", "make_recipe", ()),
    "forward": ("mlp.py", "_forward", ()),
    "loss": ("mlp.py", "loss_gradient", ()),
    "backward": ("mlp.py", "_signals", ("forward", "loss")),
    "gradient products and update": ("mlp.py", "mlp_descend", ("forward", "loss", "backward")),
    "stacks in and out of work": (
        "stack.py",
        "train_stack",
        ("forward", "loss", "backward", "gradient products and update"),
    ),
    "companies read messages": ("app.py", "_arrays", ()),
    "companies write replies": ("app.py", "_reply", ()),
    "server writes messages": ("roster.py", "message", ()),
    "server chooses each company's models": (
        "coalitions.py",
        "configure_train",
        ("server writes messages",),
    ),
    "server checks replies": ("exchange.py", "_problem_of", ()),
    "audit": ("watch.py", "see", ()),
    "aggregation, with a check of its own": ("coalitions.py", "aggregate_train", ("audit",)),
    "scoring": ("scoring.py", "losses", ()),
}


def measure() -> dict[str, dict[str, float]]:
    """Seconds by stage in one process, and of the whole sweep in one process and on Ray."""
    config = game(10, 30, 32)
    use_threads(config.compute.threads)
    keep_freed_memory()
    in_one_process(game(4, 1, 32))  # warms torch up
    server, companies = cProfile.Profile(), cProfile.Profile()  # in threads of their own

    def profiled_company(message: Message, context: Context) -> Message:
        return companies.runcall(client_app, message, context)

    profiled = server.runcall(in_one_process, config, companies=profiled_company).seconds  # type: ignore[arg-type]
    total = Counter[tuple[str, str]]()
    for (file, _, function), (_, _, _, cumulative, _) in pstats.Stats(
        server, companies
    ).stats.items():  # type: ignore[attr-defined]
        total[file.rpartition("/")[2], function] += cumulative
    stages: dict[str, float] = {}
    for stage, (file, function, parts) in STAGES.items():
        # Without this a function that has another name by now would take no time.
        assert (file, function) in total, f"{stage}: nothing called {function} of {file}"
        stages[stage] = total[file, function] - sum(stages[part] for part in parts)
    stages["everything else"] = profiled - sum(stages.values())
    ray, inline = on_ray_whole(config), in_one_process(config)
    whole = {
        "one process, profiled": profiled,
        "one process": inline.seconds,
        "on Ray with 2 actors": ray.seconds,
        "of which start and end": ray.seconds - ray.sweep_seconds,
        "of which the companies' training, both actors": ray.company_seconds,
    }
    return {"stages": stages, "whole": whole}
