"""A head with a ledger: the total holds over calls, threads, processes and heads; nothing switches off the noise."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_zoo
from export_fakes import exported
from released_fakes import NOISE, NOISY, heads

from privzoo.edge import AsyncClient, Client, Head, Queue, read_manifest
from privzoo.edge.unprotected import UnprotectedHead
from privzoo.errors import BudgetError, ConfigError, ImageError
from privzoo.mechanisms.gaussian import Gaussian
from privzoo.mechanisms.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
STATED = Gaussian(NOISE.sigma, NOISE.clip)
TOTAL = STATED.epsilon(5)  # of five features
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def file() -> Path:
    return heads() / f"{NOISY}_int8.tflite"


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    return tiny_zoo.chips()[0]


@pytest.fixture
def ledger(tmp_path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def head(file, ledger) -> Head:
    return Head(file, total_epsilon=TOTAL, ledger=ledger, owner="anna")


ATTRIBUTES = (
    *("noise", "ledger", "queries", "owner", "manifest", "path", "input_size", "feature_shape", "classes"),
    *("features", "spent_epsilon", "remaining", "anything"),
)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_no_attribute_can_be_set_or_deleted(head, chips, name):
    for change in (lambda: setattr(head, name, None), lambda: delattr(head, name)):
        with pytest.raises(AttributeError):
            change()
    assert not hasattr(head, "__dict__") and head.noise == STATED


def test_edits_of_what_a_head_hands_out_switch_nothing_off(head, file, chips):
    with pytest.raises(AttributeError):
        head.noise.sigma = 1e-9
    head.manifest["noise"] = None
    head.manifest["noise"]["sigma"] = 1e-9
    head.manifest["head"].clear()
    head.manifest.clear()
    clean = UnprotectedHead(file).features(chips[:4])
    far = np.concatenate([Head(file).features(chips[:4]) - clean for _ in range(50)])
    assert head.manifest["noise"]["sigma"] == NOISE.sigma and far.std() > NOISE.sigma / 2
    assert not np.array_equal(head.features(chips[:4]), clean)


def test_no_second_opening_and_no_part_changes_a_head(head, file, ledger):
    for change in (lambda: head.__init__(file), lambda: head.__init__(file, epsilon=1000)):
        with pytest.raises(ConfigError, match="is open and cannot be changed; make another Head"):
            change()
    head.noise.__init__(1e-9, 1.0)
    head.noise.__dict__["sigma"] = 1e-9
    for name in ("spend", "path", "cost", "anything"):
        with pytest.raises(AttributeError):
            setattr(head.ledger, name, lambda *_, **__: None)
    with pytest.raises(ConfigError, match="is open and cannot be changed; make another Ledger"):
        head.ledger.__init__(ledger.with_name("other"))
    assert head.noise == STATED and head.ledger.path == ledger and head.remaining() == 5


def test_a_ledger_that_is_deleted_stops_its_heads(head, file, ledger, chips):
    head.features(chips[:4])
    ledger.unlink()
    with pytest.raises(ConfigError, match="no feature is given out"):
        head.features(chips[:1])
    again = Head(file, total_epsilon=TOTAL, ledger=ledger, owner="anna")  # made anew, it knows of nothing
    assert again.remaining() == 5
    for use in (lambda: head.features(chips[:1]), head.remaining, head.spent_epsilon):
        with pytest.raises(ConfigError, match="it was replaced by another ledger"):
            use()
    assert again.remaining() == 5 and head.queries == 4


def test_the_unprotected_head_gives_the_same_each_time_and_is_no_public_name(file, chips):
    import privzoo.edge

    opened = UnprotectedHead(file, threads=2)
    assert np.array_equal(opened.features(chips), opened.features(chips))
    assert opened.manifest["model"] == NOISY and not hasattr(privzoo.edge, "UnprotectedHead")


def test_the_total_holds_for_batches_and_after_a_restart(head, file, ledger, chips):
    assert head.remaining() == 5 and head.spent_epsilon() == 0
    assert head.features(chips[:3]).shape == (3, 4)
    with pytest.raises(BudgetError, match=r"Sending 3 more would bring 'anna' to .*\(2 more would fit\)"):
        head.features(chips[:3])
    assert (head.queries, head.remaining()) == (3, 2)
    assert head.spent_epsilon() == head.ledger.spent("anna") == STATED.epsilon(3)
    again = Head(file, total_epsilon=TOTAL, ledger=Ledger(ledger), owner="anna")
    again.features(chips[:2])
    assert (again.queries, again.remaining()) == (2, 0) and again.spent_epsilon(1e-7) == STATED.epsilon(5, 1e-7)
    for opened in (head, again):
        with pytest.raises(BudgetError, match="0 more would fit"):
            opened.features(chips[:1])
    assert Head(file, total_epsilon=TOTAL, ledger=ledger).remaining() == 5  # the device's own budget
    (entry,) = head.ledger.entries()
    assert (entry.model, entry.queries, entry.mechanism["sigma"]) == (NOISY, 5, NOISE.sigma)
    assert entry.head == head.manifest["head"]["sha256"]


def test_heads_of_different_noise_share_the_total(head, file, ledger, chips):
    other = Head(file, epsilon=2, total_epsilon=TOTAL, ledger=ledger, owner="anna")
    other.features(chips[:4])
    head.features(chips[:3])
    both = (other.noise.cost * 4 + STATED.cost * 3).epsilon()
    assert head.spent_epsilon() == other.spent_epsilon() == pytest.approx(both)
    assert other.remaining() > head.remaining()


def test_a_ledger_without_a_total_counts_only(file, ledger, chips):
    head = Head(file, ledger=ledger)
    head.features(chips)
    assert head.remaining() is None and head.spent_epsilon() == pytest.approx(STATED.epsilon(len(chips)))


def test_refused_chips_cost_nothing_and_what_failed_later_stays_spent(head, chips, monkeypatch):
    with pytest.raises(ImageError):
        head.features(chips[:2, :3])
    assert head.remaining() == 5 and head.features(chips[:0]).shape == (0, 4)

    def fail(self, chips):
        assert head.spent_epsilon() == STATED.epsilon(2)  # on the disk before anything is computed
        raise RuntimeError("the interpreter")

    monkeypatch.setattr(UnprotectedHead, "features", fail)
    with pytest.raises(RuntimeError, match="the interpreter"):
        head.features(chips[:2])
    assert (head.remaining(), head.queries) == (3, 0)


def test_nothing_is_computed_beyond_the_total_or_without_the_ledger(head, ledger, chips, monkeypatch):
    monkeypatch.setattr(UnprotectedHead, "features", lambda self, chips: pytest.fail("computed"))
    with pytest.raises(BudgetError):
        head.features(chips[:6])
    ledger.unlink()
    with pytest.raises(ConfigError, match="no feature is given out"):
        head.features(chips[:1])


def test_threads_share_the_total(file, ledger, chips):
    head = Head(file, total_epsilon=STATED.epsilon(20), ledger=Ledger(ledger, timeout=60))

    def ask(_):
        try:
            return len(head.features(chips[:3]))
        except BudgetError:
            return 0

    with ThreadPoolExecutor(6) as pool:
        given = sum(pool.map(ask, range(12)))
    assert given == 18 == head.queries and head.remaining() == 2


def test_processes_share_the_total(file, ledger, chips, tmp_path):
    np.save(tmp_path / "chips.npy", chips)
    code = (
        "import sys, numpy as np\n"
        "from privzoo.edge import Head\n"
        "from privzoo.errors import BudgetError\n"
        "sys.modules['dp_accounting'] = None\n"
        "head = Head(sys.argv[1], total_epsilon=float(sys.argv[2]), ledger=sys.argv[3], owner='anna')\n"
        "chips = np.load(sys.argv[4])\n"
        "try:\n"
        "    while True: head.features(chips[:2])\n"
        "except BudgetError: print(head.queries)\n"
    )
    command = [sys.executable, "-c", code, file, str(STATED.epsilon(31)), ledger, tmp_path / "chips.npy"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    assert sum(int(process.communicate(timeout=120)[0]) for process in running) == 30
    assert Ledger(ledger).spent("anna") == pytest.approx(STATED.epsilon(30))


def test_settings_that_cannot_be(file, ledger):
    quiet = exported("float32")
    for options in ({"total_epsilon": 4, "ledger": ledger}, {"total_epsilon": 4}, {"ledger": ledger}):
        with pytest.raises(ConfigError, match="adds no noise"):
            Head(quiet, **options)
    with pytest.raises(ConfigError, match="give ledger=FILE"):
        Head(file, total_epsilon=TOTAL)
    with pytest.raises(ConfigError, match=r"One feature of .* more than the total of 1; set a smaller epsilon"):
        Head(file, total_epsilon=1, ledger=ledger)
    for total in ("4", True, 0, float("nan")):
        with pytest.raises(ConfigError, match="is not valid"):
            Head(file, total_epsilon=total, ledger=ledger)
    with pytest.raises(ConfigError, match="is not valid"):
        Head(file, total_epsilon=TOTAL, total_delta=0, ledger=ledger)
    assert not ledger.exists()
    for owner in ("", None):
        with pytest.raises(ConfigError, match="give a name"):
            Head(file, ledger=ledger, owner=owner)
    with pytest.raises(ConfigError, match="give the path"):
        Head(file, ledger=True)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_closed_client_spends_nothing(head, chips, kind):
    client = kind(head, NOWHERE)
    asyncio.run(client.close()) if kind is AsyncClient else client.close()
    with pytest.raises(ConfigError, match="closed"):
        asyncio.run(client.predict(chips[0], face="given")) if kind is AsyncClient else client.predict(
            chips[0], "given"
        )
    assert head.remaining() == 5 and head.queries == 0


def test_a_closed_client_takes_nothing_into_its_queue_and_out_of_it(head, chips, tmp_path):
    for queue in (tmp_path / "own.sqlite", Queue(tmp_path / "shared.sqlite")):
        client = Client(head, NOWHERE, queue=queue)
        begun = client.send()
        client.close()
        for use in (
            lambda client=client: client.later(chips[0], face="given"),
            lambda client=client: client.send(),
            lambda client=client: client.stream([]),
            lambda begun=begun: list(begun),
        ):
            with pytest.raises(ConfigError, match="This client is closed"):
                use()
        assert head.remaining() == 5 and head.queries == 0
    assert len(queue) == 0
    queue.close()


def test_any_name_of_a_photograph_is_taken_before_the_budget_is_spent(head, chips, tmp_path, monkeypatch):
    odd = "a\ud800\udce9\n\x1b.png"
    prepare = Head.prepare

    def prepared(self, *arguments, **options):
        made, found, skipped = prepare(self, *arguments, **options)
        return made, [dataclasses.replace(one, image=odd) for one in found], skipped

    monkeypatch.setattr(Head, "prepare", prepared)
    with Client(head, NOWHERE, queue=tmp_path / "queue.sqlite") as client:
        (ticket,) = client.later(chips[0], face="given")
        (one,) = client.queue.first(head.manifest["tail"]["signature"], 9)
        assert (one.ticket, one.image) == (ticket, "a\\ud800\\xe9\n\x1b.png") and head.remaining() == 4


@pytest.mark.parametrize("name", ["\ud800", "a\udce9"])
@pytest.mark.parametrize("url", [NOWHERE, "grpc://127.0.0.1:9"])
def test_names_that_no_request_holds_are_refused_before_anything_is_spent(head, url, name):
    with pytest.raises(ConfigError, match="model=.* cannot be sent"):
        Client(head, url, model_name=name)


ODD_PATHS = [None, 3, "", "a\0b", "\ud800", [1], {}]


@pytest.mark.parametrize("path", ODD_PATHS, ids=repr)
def test_paths_that_cannot_be(head, file, path):
    for use in (lambda: Head(path), lambda: UnprotectedHead(path), lambda: read_manifest(path)):
        with pytest.raises(ConfigError, match="path=.* is not valid; give the path of a file"):
            use()
    if path is not None:
        with pytest.raises(ConfigError, match="ca="):
            Client(head, "https://127.0.0.1:9", ca=path)
        with pytest.raises(ConfigError, match="[Tt]he certificate is invalid|certificate="):
            Client(head, "grpcs://127.0.0.1:9", certificate=path)
    assert Head(str(file).encode()).path == str(file)


@pytest.mark.parametrize("key", [3, b"key", [], {}, True], ids=repr)
def test_keys_that_are_no_text(head, key):
    with pytest.raises(ConfigError, match="The key is invalid"):
        Client(head, NOWHERE, key=key)


@pytest.mark.parametrize("chips", [[[1, 2], [3]], [[[[1]]], [2]], None, {}, "x", [None], 1j], ids=repr)
def test_chips_that_are_no_array_cost_nothing(head, chips):
    with pytest.raises(ImageError, match="chips"):
        head.features(chips)
    assert head.remaining() == 5


@pytest.mark.parametrize("threads", [2**31, 2**31 - 1, 1025, 0, -1, 1.0, "2", True])
def test_threads_that_cannot_be(file, threads):
    with pytest.raises(ConfigError, match="threads=.* from 1 to 1024"):
        Head(file, threads)


def test_a_delta_is_checked_though_nothing_needs_it(file):
    with pytest.raises(ConfigError, match="delta="):
        Head(file, delta="1e-5")


def test_clients_pass_the_refusal_through(file, ledger, chips, tmp_path):
    head = Head(file, total_epsilon=STATED.epsilon(1), ledger=ledger)
    with Client(head, NOWHERE, queue=tmp_path / "queue.sqlite") as client:
        with pytest.raises(BudgetError):
            client.later(list(chips[:2]), face="given")
        assert len(client.queue) == 0
        client.later(chips[0], face="given")  # the one feature that there is; sending it again costs nothing
        with pytest.raises(BudgetError):
            client.predict(chips[0], face="given")
        with pytest.raises(BudgetError), client.stream([chips[0]], face="given") as answers:
            next(answers)
        assert len(client.queue) == 1

    async def ask():
        async with AsyncClient(head, NOWHERE) as client:
            await client.predict(chips[0], face="given")

    with pytest.raises(BudgetError):
        asyncio.run(ask())
