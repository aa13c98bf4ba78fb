"""The house's walls: which room may import which. Rows are those of docs/architecture.md."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "moral_jax"
# Every room with its row and all that it may import: lower rows only, the same row never.
ROOMS: dict[str, tuple[int, str]] = {
    "types": (0, ""),
    "runtime": (1, "types"),
    "objectives": (1, "types"),
    "config": (2, "types runtime"),
    "sharding": (3, "types config"),
    "tasks": (3, "types runtime config"),
    "prompts": (3, "types config"),
    "runs": (3, "types runtime config"),
    "models": (4, "types runtime config sharding"),
    "data": (4, "types runtime config prompts"),
    "analysis": (4, "types runtime runs"),
    "judges": (4, "types runtime tasks"),
    "report": (4, "types runtime runs"),
    "weights": (5, "types runtime config sharding models"),
    "inference": (5, "types runtime objectives config sharding runs models data"),
    "study": (5, "types runtime config runs analysis report"),
    "train": (6, "types runtime objectives config sharding models"),
    "respondents": (6, "types runtime config sharding tasks prompts runs models data analysis inference"),  # fmt: skip
    "workflows": (
        9,
        "types runtime objectives config sharding tasks prompts runs models data judges analysis report weights "
        "inference train respondents",
    ),
    "plan": (
        10,
        "types runtime objectives config sharding tasks models data weights inference train respondents workflows",
    ),  # fmt: skip
    "doctor": (10, "types runtime config sharding tasks models data weights train respondents workflows"),  # fmt: skip
    "cli": (
        11,
        "types runtime objectives config sharding tasks runs judges analysis report study respondents workflows plan "
        "doctor",
    ),
}
JAX = ("jax", "optax", "flax", "orbax")
WITHOUT_JAX = (
    "types", "config", "tasks", "prompts", "runs", "data", "judges", "analysis", "report", "study", "cli",
    "respondents.base",
    "respondents.scripted", "respondents.api", "respondents.baselines",
)  # fmt: skip
JAX_IN_RUNTIME = ("runtime.distributed", "runtime.jax_setup")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith("configs."):  # a link, for the wheel: experiments, not a room
            yield name, ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def violations(name: str, tree: ast.Module) -> Iterator[str]:
    room = name.split(".")[0]
    for imported in imports(tree):
        top = imported.split(".")[0]
        if top == "torch":
            yield f"{name}: product code imports torch"
        if top == "flax" and room != "models":
            yield f"{name}: flax outside models"
        if imported.startswith("flax.nnx"):
            yield f"{name}: flax.nnx"
        no_jax = is_in(name, WITHOUT_JAX) or (room == "runtime" and name not in JAX_IN_RUNTIME)
        if top in JAX and no_jax:
            yield f"{name}: {top} where there is no jax"
        if top != "moral_jax" or imported == "moral_jax":
            continue
        other = imported.removeprefix("moral_jax.").split(".")[0]
        if other in ROOMS and room in ROOMS and other != room and other not in ROOMS[room][1].split():
            yield f"{name} (row {ROOMS[room][0]}) imports {imported} (row {ROOMS[other][0]})"


def test_every_import_is_on_the_list():
    found = [v for name, tree in modules() for v in violations(name, tree)]
    assert not found, "\n".join(found)


def test_the_list_goes_down_only():
    for room, (row, allowed) in ROOMS.items():
        for other in allowed.split():
            assert ROOMS[other][0] < row, f"{room} may import {other}, which is no lower"


def test_the_list_holds_nothing_that_nobody_imports():
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for name, tree in modules():
        room = name.split(".")[0]
        if room in ROOMS:
            used[room] |= {i.split(".")[1] for i in imports(tree) if i.startswith("moral_jax.")}
    for room, (_, allowed) in ROOMS.items():
        assert set(allowed.split()) <= used[room], (room, set(allowed.split()) - used[room])


def test_every_module_has_a_room():
    for name, _ in modules():
        assert name in ("__init__", "__main__") or name.split(".")[0] in ROOMS, name


@pytest.mark.parametrize(
    ("name", "source"),
    [
        # the three imports that the walls before these could not see
        ("models.adapters", "from moral_jax.weights import keymap"),
        ("data.tokenizer", "from moral_jax.weights import hf"),
        ("workflows.export", "from moral_jax.cli import main"),
        # upward, sideways, and lower rooms that are on nobody's list
        ("report.page", "from moral_jax.analysis import metrics"),
        ("respondents.local", "from moral_jax.train import checkpoint"),
        ("train.loop", "from moral_jax.workflows import build"),
        ("prompts.render", "from moral_jax.tasks import registry"),
        ("train.loop", "from moral_jax.tasks import registry"),
        # libraries
        ("tasks.votes", "import jax"),
        ("runtime.files", "import jax"),
        ("respondents.api.client", "import jax"),
        ("analysis.metrics", "import flax.linen as nn"),
        ("workflows.train", "import torch"),
        ("models.layers", "from flax import nnx"),
    ],
)
def test_the_walls_are_seen(name, source):
    assert list(violations(name, ast.parse(source)))


def test_configs_import_settings_only():
    for path in (ROOT.parent / "configs").rglob("*.py"):
        ours = [i for i in imports(ast.parse(path.read_text())) if i.startswith("moral_jax.")]
        study = {i for i in ours if i.startswith(("moral_jax.study.spec.", "moral_jax.study.stages."))}
        assert set(ours) - study <= {"moral_jax.config", "moral_jax.config.presets"}, path


def test_files_and_functions_stay_small():
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        assert text.count("\n") <= 300, f"{path}: {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{path}:{node.lineno}: {node.name} has {length} lines"


def test_no_import_computes_anything():
    """Several processes must find each other before the first computation, which an import may not make."""
    names = [f"moral_jax.{name}" for name, _ in modules() if not name.endswith(("__main__", "__init__"))]
    program = f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)"
    env = os.environ | {"JAX_PLATFORMS": "no_such_platform", "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
