"""The house's walls: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "moral_jax"
LAYER = {
    "types": 0, "files": 0, "strict": 0, "secrets": 0, "config": 0, "config_io": 0, "presets": 0, "guard": 0,
    "distributed": 0, "preemption": 0, "heap": 0,
    "logs": 1, "tasks": 1, "sharding": 1,
    "models": 2, "weights": 2, "data": 2, "objectives": 2,
    "train": 4, "evals": 4,
    "rundir": 5, "experiment": 5, "study": 5,
    "baselines": 6, "remote": 6, "run": 6, "ask": 6, "plan": 6, "publish": 6, "doctor": 6, "commands": 7, "cli": 7,
}  # fmt: skip
OF_RECORDS = tuple(
    f"evals.{module}"
    for module in (
        "metrics",
        "ceiling",
        "table",
        "records",
        "calibrate",
        "summary",
        "second_order",
        "bounds",
        "pooled",
    )  # fmt: skip
)
FINER = (
    {"models.api": 3, "train.optim": 2, "train.loop": 5, "evals.run": 5}
    | dict.fromkeys(OF_RECORDS, 2)
    | {"study.spec": 0}
)
NO_JAX = ("types", "files", "strict", "secrets", "config", "config_io", "presets", "preemption", "guard", "heap",
          "logs", "tasks", "data", "report", "ask", "rundir", "baselines", "remote", "study", "commands",
          *OF_RECORDS)  # fmt: skip
SAME_ROW_BY_DESIGN = {("weights.load", "models.api"), ("weights.load", "models.spec")}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(module: str) -> int | None:
    parts = module.split(".")
    return FINER.get(".".join(parts[:2]), LAYER.get(parts[0]))


def is_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def violations(name: str, tree: ast.Module) -> Iterator[str]:
    for imported in imports(tree):
        top = imported.split(".")[0]
        if top == "torch":
            yield f"{name}: product code imports torch"
        if top == "flax" and not is_in(name, ("models",)):
            yield f"{name}: flax outside models"
        if imported.startswith("flax.nnx"):
            yield f"{name}: flax.nnx"
        if top in ("jax", "optax", "flax", "orbax") and is_in(name, NO_JAX):
            yield f"{name}: {top} where there is no jax"
        if top != "moral_jax" or imported == "moral_jax":
            continue
        inner = imported.removeprefix("moral_jax.")
        if is_in(name, ("report",)) and not is_in(inner, ("report", "types", "strict")):
            yield f"{name}: report imports {inner}"
        mine, theirs = level(name), level(inner)
        if (
            mine is not None
            and theirs is not None
            and theirs > mine
            and (name, ".".join(inner.split(".")[:2])) not in SAME_ROW_BY_DESIGN
        ):
            yield f"{name} (row {mine}) imports {inner} (row {theirs})"


def test_imports_go_down_only():
    found = [v for name, tree in modules() for v in violations(name, tree)]
    assert not found, "\n".join(found)


def test_every_module_has_a_room():
    for name, _ in modules():
        assert name == "__init__" or name.split(".")[0] in {*LAYER, "report"} or name == "moral_jax", name


def test_the_walls_are_seen():
    """The check itself: each kind of breach is found."""
    breaches = {
        "tasks.x": "import jax",
        "models.x": "from moral_jax.run import train",
        "weights.x": "from moral_jax.train import loop",
        "report.x": "from moral_jax.evals import metrics",
        "evals.x": "import flax.linen as nn",
        "run": "import torch",
        "models.y": "from flax import nnx",
    }
    for name, source in breaches.items():
        assert list(violations(name, ast.parse(source))), (name, source)


def test_configs_import_settings_only():
    for path in (ROOT.parent / "configs").rglob("*.py"):
        ours = [i for i in imports(ast.parse(path.read_text())) if i.startswith("moral_jax.")]
        study = {i for i in ours if i.startswith("moral_jax.study.spec.")}
        assert set(ours) - study <= {"moral_jax.config", "moral_jax.config.presets"}, path
