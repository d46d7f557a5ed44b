"""What each part may import: light at `import privzoo`, no TensorFlow on the device, dependencies that point down."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING_STACK = {"tensorflow", "keras", "jax", "torch", "tf_keras"}
SECONDS_OF_IMPORT = 0.2

# Part of privzoo -> the parts that it may import; those at the bottom anyone may.
BOTTOM = {
    *("answers", "checks", "crowd", "databases", "errors", "files", "forks", "markdown", "outputs", "plain"),
    *("protobuf", "provenance", "sources", "texts", "version"),
}
MAY_IMPORT = {
    "checks": set(),
    "crowd": set(),
    "databases": set(),
    "texts": set(),
    "version": set(),
    "errors": set(),
    "mechanisms": set(),
    "files": set(),
    "forks": set(),
    "markdown": set(),
    "outputs": set(),
    "protobuf": set(),
    "provenance": set(),
    "plain": set(),
    "sources": set(),
    "answers": set(),
    "audio": set(),
    "litert": set(),
    "faces": {"litert"},
    "config": {"audio"},
    "weights": {"config"},
    "architectures": {"config"},
    "embeddings": {"architectures", "config", "mechanisms"},
    "card": {"card_files", "card_text", "config", "costs", "evaluation", "measurement", "mechanisms"},
    "card_files": {"config"},
    "costs": {"architectures", "config"},
    "measurement": {"card_files", "config", "evaluation"},
    "card_text": {"costs", "measurement", "config", "evaluation", "mechanisms"},
    "activations": {"architectures", "audio", "faces"},
    "data": {"audio", "config", "faces"},
    "training": {
        *("activations", "architectures", "audio", "config", "data", "embeddings", "faces", "mechanisms", "weights"),
    },
    "inputs": {"audio", "faces"},
    "edge": {"audio", "faces", "inputs", "litert", "mechanisms"},
    "evaluation": {"edge", "faces", "mechanisms"},
    "serving.settings": set(),
    "serving.taking": set(),
    "serving.waiting": set(),
    "serving.wire": {"serving.settings"},
    "serving.models": {"serving.settings", "serving.waiting", "serving.wire"},
    "serving.keys": {"serving.models", "serving.wire"},
    "serving.front": {
        *("edge", "faces", "serving.keys", "serving.models", "serving.settings", "serving.taking", "serving.waiting"),
        "serving.wire",
    },
    "serving.engines": {
        *("serving.front", "serving.keys", "serving.models", "serving.settings", "serving.taking", "serving.wire"),
    },
    "serving": {"serving.engines", "serving.front", "serving.models", "serving.settings"},
    "export": {"audio", "card", "config", "edge", "faces", "inputs", "mechanisms"},
    "slim": {
        *("activations", "architectures", "audit", "card", "config", "data", "embeddings", "evaluation"),
        *("export", "mechanisms", "model", "training", "weights"),
    },
    "model": {"card", "config", "export", "faces", "inputs", "mechanisms"},
    "export.released": {"card", "config", "edge", "export", "faces", "inputs", "model"},
    "export.sharing": {"config", "weights"},
    "mixed": {"architectures", "card", "edge", "embeddings", "export", "mechanisms", "model"},
    "zoo": {"architectures", "card", "config", "embeddings", "mechanisms", "mixed", "model", "weights"},
    "audit": {
        *("activations", "architectures", "audio", "card", "card_text", "config", "data", "edge", "embeddings"),
        *("evaluation", "export", "export.released", "measurement", "faces", "mechanisms", "model", "weights", "zoo"),
    },
    "demo": {
        *("audio", "card", "config", "edge", "export", "faces", "inputs", "mechanisms", "serving", "weights", "zoo"),
    },
    "console": {"mechanisms"},
    "cli": {"card_text", "console", "demo", "export", "faces", "inputs", "mechanisms", "serving", "zoo"},
    "__main__": {"cli"},
    "__init__": {"card", "model", "zoo"},
}


def run(code: str) -> str:
    """What a fresh Python process prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(code: str) -> set[str]:
    """Top-level modules in a fresh process after some code ran."""
    last = run(
        f"{code}\nimport json, sys; print('\\n' + json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    return set(json.loads(last.splitlines()[-1]))


def test_import_of_privzoo_is_fast():
    """Processor time rather than the clock's, and the least of several: the machine may be busy."""
    code = "import time, privzoo; print(time.process_time())"
    assert min(float(run(code)) for _ in range(5)) < SECONDS_OF_IMPORT


def test_import_of_privzoo_is_light():
    assert not imported("import privzoo") & (TRAINING_STACK | {"numpy", "PIL", "yaml", "httpx", "scipy", "skimage"})


@pytest.mark.parametrize(
    "code",
    [
        "import privzoo.edge",
        "import privzoo.serving",
        "import privzoo.cli",
        "import privzoo.data",
        "import privzoo; privzoo.list_models(); privzoo.show(privzoo.list_models()[0])",
        "from privzoo.cli import main; assert main(['list']) == 0",
        "from privzoo.cli import main; assert main(['list', '--json']) == 0",
        "import privzoo; from privzoo.cli import main; assert main(['show', privzoo.list_models()[0]]) == 0",
    ],
)
def test_imports_no_training_stack(code):
    assert not imported(code) & TRAINING_STACK


def test_device_imports_no_optional_package():
    optional = {"skimage", "sklearn", "scipy", "matplotlib", "starlette", "uvicorn", "absl", "dp_accounting"}
    assert not imported("import privzoo.edge") & optional


FILES = sorted((ROOT / "privzoo").rglob("*.py"))


def module(path: Path) -> str:
    """The name below privzoo that a file is imported by; empty for `privzoo` itself."""
    return ".".join(path.relative_to(ROOT / "privzoo").with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {module(path): path for path in FILES}


def part(name: str) -> str:
    """The part of privzoo that a module belongs to."""
    found = name
    while found and found not in MAY_IMPORT:
        found = found.rpartition(".")[0]
    return found or name.partition(".")[0] or "__init__"


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Modules of privzoo that a file imports, in functions and for type checkers too."""
    found = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(a.name.partition(".")[2] for a in node.names if a.name.partition(".")[0] == "privzoo")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "privzoo":
            package = node.module.partition(".")[2]
            names = (f"{package}.{a.name}".removeprefix(".") for a in node.names)
            found.update(name if name in MODULES else package for name in names)
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: import by full name"
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(found)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_dependencies_point_down(path):
    own = part(module(path))
    assert own in MAY_IMPORT, f"enter {own} into MAY_IMPORT with what it may import"
    # `privzoo` itself loads what is asked of it when it is asked: the version and the functions of `zoo`.
    assert {part(name) for name in imports(path)} - {"__init__"} <= MAY_IMPORT[own] | BOTTOM | {own}


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """What imports itself by way of others: strongly connected sets of more than one."""
    reached = {start: set() for start in arrows}
    for start, seen in reached.items():
        waiting = [start]
        while waiting:
            new = [name for name in arrows[waiting.pop()] if name not in seen]
            seen.update(new)
            waiting += new
    found = {frozenset({b for b in arrows if b in reached[a] and a in reached[b]}) for a in arrows}
    return sorted(sorted(names) for names in found if names)


def test_rules_have_no_circle():
    assert circles(MAY_IMPORT) == []


def test_modules_import_in_no_circle():
    assert circles({name: imports(path) - {""} for name, path in MODULES.items()}) == []


def test_rules_name_parts_that_exist():
    assert set(MAY_IMPORT) == {part(name) for name in MODULES}


def test_no_import_needs_the_checkout_as_working_directory(tmp_path):
    code = "import privzoo; print(len(privzoo.list_models()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
