"""What each part may import: light at `import privzoo`, no TensorFlow on the device, dependencies that point down."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAINING_STACK = {"tensorflow", "keras", "jax", "torch", "tf_keras"}
SECONDS_OF_IMPORT = 0.2

# Part of privzoo -> the parts that it may import; those at the bottom anyone may.
BOTTOM = {"checks", "errors", "files", "forks", "provenance"}
MAY_IMPORT = {
    "checks": set(),
    "errors": set(),
    "mechanisms": set(),
    "files": set(),
    "forks": set(),
    "provenance": set(),
    "litert": set(),
    "faces": {"litert"},
    "config": set(),
    "weights": {"config"},
    "architectures": {"config"},
    "embeddings": {"architectures", "config", "mechanisms"},
    "card": {"architectures", "card_text", "config", "evaluation", "mechanisms"},
    "card_text": {"config", "evaluation"},
    "activations": {"architectures", "faces"},
    "data": {"config", "faces"},
    "training": {
        *("activations", "architectures", "config", "data", "embeddings", "faces", "mechanisms", "weights"),
    },
    "edge": {"faces", "litert", "mechanisms"},
    "evaluation": {"edge", "faces", "mechanisms"},
    "serving": {"edge", "faces"},
    "export": {"card", "config", "edge", "faces", "mechanisms"},
    "optimise": {
        *("activations", "architectures", "audit", "card", "config", "data", "edge", "embeddings"),
        *("evaluation", "export", "measure", "mechanisms", "model", "training", "weights"),
    },
    "measure": {"architectures", "card", "edge", "evaluation", "export"},
    "loadtest": {"edge", "evaluation", "measure", "serving"},
    "model": {"card", "config", "export", "faces", "mechanisms"},
    "zoo": {"architectures", "card", "config", "embeddings", "mechanisms", "model", "weights"},
    "audit": {
        *("activations", "architectures", "card", "config", "data", "edge", "embeddings"),
        *("evaluation", "export", "faces", "mechanisms", "model", "zoo"),
    },
    "demo": {"card", "config", "edge", "faces", "mechanisms", "serving", "weights", "zoo"},
    "console": {"mechanisms"},
    "cli": {"console", "demo", "export", "faces", "mechanisms", "serving", "zoo"},
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
    optional = {"skimage", "sklearn", "scipy", "matplotlib", "fastapi", "uvicorn", "pooch", "absl", "dp_accounting"}
    assert not imported("import privzoo.edge") & optional


def part(path: Path) -> str:
    """The part of privzoo that a file belongs to."""
    return path.relative_to(ROOT / "privzoo").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Parts of privzoo that a file imports when it runs, in functions too; not those for type checkers alone."""
    found = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("privzoo."))
        elif isinstance(node, ast.ImportFrom) and node.module == "privzoo":
            found.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("privzoo."):
            found.add(node.module.split(".")[1])
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: import by full name"
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


FILES = sorted((ROOT / "privzoo").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_dependencies_point_down(path):
    own = part(path)
    assert own in MAY_IMPORT, f"enter {own} into MAY_IMPORT with what it may import"
    assert imports(path) <= MAY_IMPORT[own] | BOTTOM | {own, "__version__"}


def test_rules_name_parts_that_exist():
    assert set(MAY_IMPORT) == {part(path) for path in FILES}


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
