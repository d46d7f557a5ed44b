"""Load on `privzoo serve` on this machine: `tools/loadtest.py --seconds 10 --out load.json`.

For each model: the bare tail in this process, then the server over REST and gRPC, with and without batching, at several
counts of clients (locust, in a process of its own). The server is started here, on the loopback interface; no other
address can be given. Everything is bounded: seconds, clients, runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "models",
    ["vgg16_gender_reduced_simple_conv5_3", "vgg16_gender_simple_conv5_1"],
    "models whose tails are asked: a small feature and a large one",
)
flags.DEFINE_string("served", None, "folder with NAME/VERSION/ of their tails; default: they are exported for the run")
flags.DEFINE_list("clients", ["1", "8", "64"], "counts of clients, up to 256 each")
flags.DEFINE_list("protocols", ["rest", "grpc"], "of rest and grpc")
flags.DEFINE_list("batching", ["off", "on"], "of off and on")
flags.DEFINE_integer("seconds", 10, "of each run", lower_bound=1, upper_bound=600)
flags.DEFINE_integer("bare_runs", 300, "of the bare tail", lower_bound=1, upper_bound=100_000)
flags.DEFINE_string("out", None, "JSON file to write all rows to")
BATCHING = "max_batch_size { value: 64 } batch_timeout_micros { value: 500 } max_enqueued_batches { value: 1000 }"
MOST_CLIENTS = 256
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True)
class Row:
    """One run."""

    model: str
    feature_bytes: int
    protocol: str  # "rest", "grpc", or "bare": the tail in this process
    batching: bool
    clients: int
    requests: int
    failures: int
    per_second: float
    median_ms: float
    p99_ms: float
    start_seconds: float  # from the start of the server's process to its first answer; 0 for the bare tail


def summarise(times: list[float], failures: int, seconds: float, start_seconds: float = 0.0, **what: Any) -> Row:
    """A row of the times of its requests.

    Args:
        times: milliseconds of each answered request, in the order of their ends.
        failures: requests that were not answered.
        seconds: that the run took.
        start_seconds: of the server.
        what: the other fields of `Row`.
    """
    ordered = sorted(times)
    return Row(
        requests=len(times),
        failures=failures,
        per_second=round(len(times) / seconds, 1) if seconds else 0.0,
        median_ms=round(statistics.median(ordered), 3) if ordered else float("nan"),
        p99_ms=round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 3) if ordered else float("nan"),
        start_seconds=round(start_seconds, 2),
        **what,
    )


def bare(folder: Path, feature: Any, runs: int) -> list[float]:
    """Milliseconds of each run of a tail in this process, the first ones left out.

    Args:
        folder: of the version.
        feature: float32 array (1, *shape).
        runs: how many.
    """
    from privzoo.serving.savedmodel import SavedModel

    model = SavedModel(folder)
    signature = model.signatures["serving_default"]
    times = []
    for number in range(runs + 10):
        start = time.perf_counter()
        model.run(signature, {"features": feature})
        if number >= 10:
            times.append((time.perf_counter() - start) * 1e3)
    model.close()
    return times


def load(plan: dict[str, Any], body: bytes, clients: int, seconds: int) -> tuple[list[float], dict[str, int], float]:
    """Lets locust ask.

    Args:
        plan: protocol, url and path.
        body: of every request.
        clients: at once.
        seconds: to ask for.

    Returns:
        Milliseconds of each answered request, failures by their sentence, and the seconds that it took.
    """
    users = Path(__file__).with_name("loadtest_users.py")
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as folder:
        (Path(folder) / "body").write_bytes(body)
        plan = plan | {"body": f"{folder}/body", "out": f"{folder}/out"}
        command = [sys.executable, "-m", "locust", "--locustfile", str(users), "--headless", "--only-summary"]
        command += ["--users", str(clients), "--spawn-rate", str(clients), "--run-time", f"{seconds}s", "--skip-log"]
        done = subprocess.run(
            [*command, "--exit-code-on-error", "0", "--stop-timeout", "10"],
            env=os.environ | {"PRIVZOO_LOAD": json.dumps(plan)},
            capture_output=True,
            text=True,
            timeout=seconds + 120,
        )
        try:
            seen = json.loads((Path(folder) / "out").read_text())
        except OSError:
            lines = done.stderr.strip().splitlines()
            sys.exit(f"locust ended with code {done.returncode} and no figures: {lines[-1] if lines else 'no reason'}")
    return seen["milliseconds"], seen["failures"], seconds


def request(protocol: str, feature: Any, model: str, signature: str) -> tuple[bytes, str]:
    """Body and path of a request for one feature."""
    from privzoo.edge import grpc_messages, rest

    if protocol == "rest":
        return rest.encode(feature, signature), f"/v1/models/{model}:predict"
    return grpc_messages.encode(feature, model, None, signature, "features"), PREDICT


def first_answer(url: str, body: bytes, path: str) -> None:
    """Asks once over REST."""
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=60) as answer:
        answer.read()


def runs(served: Path, model: str, clients: list[int]) -> list[Row]:
    """All runs of a model.

    Args:
        served: folder with `<model>/<version>/` in it.
        model: its name.
        clients: counts of clients.
    """
    import numpy as np

    from privzoo.serving import Server, load_versions

    (servable,) = load_versions(model, served / model)
    shape, signature, folder = servable.tail.shape, servable.tail.signature, servable.folder
    servable.model.close()
    feature = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    what = {"model": model, "feature_bytes": feature.nbytes}
    times = bare(folder, feature, FLAGS.bare_runs)
    rows = [summarise(times, 0, sum(times) / 1e3, protocol="bare", batching=False, clients=1, **what)]
    show(rows[-1])
    with tempfile.TemporaryDirectory(prefix="privzoo-load-") as scratch:
        parameters = Path(scratch) / "batching"
        parameters.write_text(BATCHING)
        for batching in FLAGS.batching:
            flags_of_server = ["--enable_batching", "--batching_parameters_file", str(parameters)]
            begin = time.perf_counter()
            with Server(served / model, model, flags_of_server if batching == "on" else []) as server:
                first_answer(server.url, *request("rest", feature, model, signature))
                started = time.perf_counter() - begin
                for protocol in FLAGS.protocols:
                    body, path = request(protocol, feature, model, signature)
                    plan = {
                        "protocol": protocol,
                        "url": server.url if protocol == "rest" else server.grpc,
                        "path": path,
                    }
                    for count in clients:
                        times, failures, seconds = load(plan, body, count, FLAGS.seconds)
                        for sentence, number in failures.items():
                            print(f"{number} failed: {sentence}", file=sys.stderr)
                        row = summarise(
                            times,
                            sum(failures.values()),
                            seconds,
                            started,
                            protocol=protocol,
                            batching=batching == "on",
                            clients=count,
                            **what,
                        )
                        rows.append(row)
                        show(row)
    return rows


def show(row: Row) -> None:
    """Prints a row."""
    batching = "batching" if row.batching else ""
    print(
        f"{row.model:40} {row.feature_bytes:9,} B {row.protocol:5} {batching:9} {row.clients:4} clients "
        f"{row.requests:8,} answers {row.failures:5,} failed {row.per_second:9,.1f}/s "
        f"median {row.median_ms:8.3f} ms p99 {row.p99_ms:8.3f} ms",
        flush=True,
    )


def main(_: list[str]) -> None:
    """Runs everything, and writes the rows."""
    import privzoo
    from privzoo.errors import ConfigError

    clients = [int(text) for text in FLAGS.clients]
    if not clients or not all(1 <= count <= MOST_CLIENTS for count in clients):
        raise ConfigError(f"--clients {FLAGS.clients} cannot be; give counts of 1 to {MOST_CLIENTS}.")
    for name, allowed in (("protocols", {"rest", "grpc"}), ("batching", {"off", "on"})):
        if not set(getattr(FLAGS, name)) <= allowed:
            raise ConfigError(f"--{name} {getattr(FLAGS, name)} cannot be; give some of {', '.join(sorted(allowed))}.")
    rows = []
    with tempfile.TemporaryDirectory(prefix="privzoo-served-") as exported:
        for model in FLAGS.models:
            served = Path(FLAGS.served or exported)
            if FLAGS.served is None:
                privzoo.load(model).export_tail(served)
            rows += runs(served, model, clients)
    if FLAGS.out:
        temporary = Path(f"{FLAGS.out}.part")
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        os.replace(temporary, FLAGS.out)


if __name__ == "__main__":
    from privzoo.errors import PrivzooError

    try:
        app.run(main)
    except PrivzooError as error:
        sys.exit(f"loadtest: {error}")
