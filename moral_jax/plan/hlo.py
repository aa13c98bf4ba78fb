"""Reads a compiled program's text: matrix products and collectives, each counted as often as its loops run it.

The compiler's own cost analysis counts the body of a loop once.
"""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")
BETWEEN_SLICES = "send"  # the TPU compiler turns what crosses slices into sends
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
_ARRAY = re.compile(r"\b(pred|bf16|[fsu]\d+)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    text: str  # the whole line

    def attribute(self, name: str) -> str | None:
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.text)
        return found[1] if found else None


@dataclasses.dataclass(frozen=True)
class Computation:
    by_name: dict[str, Instruction]
    root: Instruction


@dataclasses.dataclass
class Counted:
    """What one device does in one run of the program."""

    flops: float = 0.0  # of matrix products
    sent: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))  # bytes, by collective
    kernels: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))  # runs, by kernel
    unknown_loops: int = 0  # whose number of rounds could not be read; counted once


def arrays(shape: str) -> list[tuple[int, int]]:
    """(elements, bytes of one) for each array in a shape."""
    out = []
    for kind, dims in _ARRAY.findall(shape):
        out.append((math.prod(int(d) for d in dims.split(",") if d), BYTES.get(kind, 4)))
    return out


def _closing(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError("unbalanced parentheses in the program's text")


def _instruction(line: str) -> Instruction | None:
    found = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = ", line)
    if not found:
        return None
    rest = line[found.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, call = rest[:end], rest[end:].lstrip()
    opened = call.index("(")
    inside = call[opened + 1 : _closing(call, opened)]
    return Instruction(found[1], shape, call[:opened], tuple(re.findall(r"%([\w.\-]+)", inside)), line)


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """All computations, and the name of the one that the program starts with."""
    computations, entry, name, lines = {}, "", "", []
    for line in text.splitlines():
        opened = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if opened and " = " not in line.split("(", 1)[0]:
            name, lines = opened[2], []
            entry = name if opened[1] else entry
        elif name and re.match(r"\}(, |$)", line):  # kernels carry text of their own, with lines that begin like it
            known = [i for i in map(_instruction, lines) if i]
            root = next((i for i in known if i.text.lstrip().startswith("ROOT")), known[-1])
            computations[name], name = Computation({i.name: i for i in known}, root), ""
        elif name:
            lines.append(line)
    return computations, entry


def _constant(computation: Computation, name: str) -> int | None:
    found = computation.by_name.get(name)
    value = re.search(r"constant\((-?\d+)\)", found.text) if found else None
    return int(value[1]) if value else None


def _rounds(loop: Instruction, computations: dict[str, Computation]) -> int | None:
    """How often a loop runs, for `for i in range(0, limit, stride)`: the only kind that layers, micro-batches and
    exchanges that are hidden behind products are made of."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(known[1])
    condition, body = (computations.get(loop.attribute(name)) for name in ("condition", "body"))
    if not condition or not body or condition.root.opcode != "compare" or "direction=LT" not in condition.root.text:
        return None
    limit = next((c for c in (_constant(condition, o) for o in condition.root.operands) if c is not None), None)
    counter = next((o for o in condition.root.operands if "index=" in condition.by_name[o].text), None)
    if limit is None or counter is None:
        return None
    index = int(condition.by_name[counter].attribute("index"))
    step = body.by_name.get(body.root.operands[index])
    while step and step.opcode in ("copy", "bitcast"):
        step = body.by_name.get(step.operands[0])
    if not step or step.opcode != "add":
        return None
    strides = [c for c in (_constant(body, o) for o in step.operands) if c]
    return -(-limit // strides[0]) if strides else None


def _group_size(instruction: Instruction) -> int:
    """Devices that exchange with each other."""
    text = instruction.text
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", text):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", found[2]))
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return len(found[1].split(","))
    return 1


def _sent(kind: str, instruction: Instruction) -> float:
    """Bytes that each device sends: ring algorithms, which are optimal."""
    sizes = [count * width for count, width in arrays(instruction.shape)]
    whole, n = max(sizes, default=0), _group_size(instruction)
    if kind in ("collective-permute", BETWEEN_SLICES):
        return whole
    if kind == "reduce-scatter":
        return whole * (n - 1)  # the shape is that of the part that stays
    return whole * (n - 1) / max(n, 1) * (2 if kind == "all-reduce" else 1)


def _flops(instruction: Instruction, computation: Computation) -> float:
    """Of a matrix product [m, k] x [k, n]: 2 mkn, which is 2 sqrt(mk * kn * mn) whatever the order of dimensions."""
    sides = [computation.by_name[o].shape for o in instruction.operands[:2] if o in computation.by_name]
    if len(sides) < 2:
        return 0.0
    elements = [arrays(shape)[0][0] for shape in (*sides, instruction.shape)]
    batch = 1
    if dims := re.search(r"lhs_batch_dims=\{([\d,]+)\}", instruction.text):
        shape = _ARRAY.search(sides[0])[2].split(",")
        batch = math.prod(int(shape[int(d)]) for d in dims[1].split(","))
    return 2 * math.sqrt(math.prod(elements) / batch)


def _called(instruction: Instruction) -> Iterator[str]:
    for name in ("calls", "to_apply"):
        if (target := instruction.attribute(name)) and instruction.opcode in ("fusion", "call", "async-start"):
            yield target


def count(text: str) -> Counted:
    """Counts a compiled program."""
    computations, entry = parse(text)
    out, seen = Counted(), set()

    def visit(name: str, times: float) -> None:
        computation = computations.get(name)
        for instruction in computation.by_name.values() if computation else ():
            kind = instruction.opcode.removesuffix("-start")
            if instruction.opcode == "while":
                rounds = _rounds(instruction, computations)
                out.unknown_loops += rounds is None
                visit(instruction.attribute("body"), times * (rounds or 1))
            elif kind in COLLECTIVES:
                # an exchange that is spread over several products stands in each of them, under one channel
                channel = instruction.attribute("channel_id") or instruction.name
                if (kind, channel) not in seen:
                    seen.add((kind, channel))
                    out.sent[kind] += times * _sent(kind, instruction)
            elif kind in ("dot", "convolution"):
                out.flops += times * _flops(instruction, computation)
            elif kind == "custom-call" and 'custom_call_target="tpu_custom_call"' in instruction.text:
                out.kernels[re.sub(r"[.\d]+$", "", instruction.name)] += times
            for target in _called(instruction):
                visit(target, times)

    visit(entry, 1.0)
    return out
