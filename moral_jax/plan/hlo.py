"""Counts matrix products and collectives in a compiled program's text, each as often as its loops run it.

XLA's own cost analysis counts the body of a loop once. `parse` divides the text into computations of instructions.
`count` walks them from the entry computation: it follows fusions and calls, and multiplies by the rounds of each loop,
which are annotated or read off its condition (`_rounds`). The FLOPs of a product and the bytes of a collective follow
from their shapes.
"""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")
BETWEEN_SLICES = "send"  # the TPU compiler turns exchanges between slices into sends
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
_ARRAY = re.compile(r"\b(pred|bf16|[fsu]\d+)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    text: str  # the whole line

    def attribute(self, name: str) -> str | None:
        """Returns the value of an attribute; None if the instruction lacks it."""
        match = re.search(rf"\b{name}=%?([\w.\-]+)", self.text)
        return match[1] if match else None


@dataclasses.dataclass(frozen=True)
class Computation:
    """A named block of instructions; its root is the one whose result it returns."""

    by_name: dict[str, Instruction]
    root: Instruction


@dataclasses.dataclass
class Counted:
    """The work of one device in one run of the program."""

    flops: float = 0.0  # of matrix products
    sent: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))  # bytes, by collective
    kernels: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))  # runs, by kernel
    unknown_loops: int = 0  # loops whose number of rounds could not be read; their bodies count once


def arrays(shape: str) -> list[tuple[int, int]]:
    """Returns (elements, bytes per element) of each array in a shape."""
    out = []
    for kind, dims in _ARRAY.findall(shape):
        out.append((math.prod(int(d) for d in dims.split(",") if d), BYTES.get(kind, 4)))
    return out


def _closing(text: str, start: int) -> int:
    """Returns the index of the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError("unbalanced parentheses in the program's text")


def _instruction(line: str) -> Instruction | None:
    """Parses a line; returns None if it is no instruction."""
    match = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = ", line)
    if not match:
        return None
    rest = line[match.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, call = rest[:end], rest[end:].lstrip()
    opened = call.index("(")
    inside = call[opened + 1 : _closing(call, opened)]
    return Instruction(match[1], shape, call[:opened], tuple(re.findall(r"%([\w.\-]+)", inside)), line)


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """Returns all computations by name, and the name of the entry computation."""
    computations: dict[str, Computation] = {}
    lines: list[str] = []
    entry = name = ""
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if header and " = " not in line.split("(", 1)[0]:
            name, lines = header[2], []
            entry = name if header[1] else entry
        elif name and re.match(r"\}(, |$)", line):  # kernels embed text, whose lines may begin with "}" too
            parsed = [i for i in map(_instruction, lines) if i]
            root = next((i for i in parsed if i.text.lstrip().startswith("ROOT")), parsed[-1])
            computations[name], name = Computation({i.name: i for i in parsed}, root), ""
        elif name:
            lines.append(line)
    return computations, entry


def _constant(computation: Computation, name: str) -> int | None:
    """Returns the value of an integer constant; None if the instruction is none."""
    instruction = computation.by_name.get(name)
    value = re.search(r"constant\((-?\d+)\)", instruction.text) if instruction else None
    return int(value[1]) if value else None


def _rounds(loop: Instruction, computations: dict[str, Computation]) -> int | None:
    """Returns how often a loop runs; None if that cannot be read.

    Only `for i in range(0, limit, stride)` is understood. Layers, micro-batches, and exchanges that overlap with
    products all become such loops.
    """
    if match := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(match[1])
    condition, body = (computations.get(loop.attribute(name) or "") for name in ("condition", "body"))
    if not condition or not body or condition.root.opcode != "compare" or "direction=LT" not in condition.root.text:
        return None
    limit = next((c for c in (_constant(condition, o) for o in condition.root.operands) if c is not None), None)
    index = next((i for i in (condition.by_name[o].attribute("index") for o in condition.root.operands) if i), None)
    if limit is None or index is None:
        return None
    step = body.by_name.get(body.root.operands[int(index)])
    while step and step.opcode in ("copy", "bitcast"):
        step = body.by_name.get(step.operands[0])
    if not step or step.opcode != "add":
        return None
    strides = [c for c in (_constant(body, o) for o in step.operands) if c]
    return -(-limit // strides[0]) if strides else None


def _group_size(instruction: Instruction) -> int:
    """Returns the number of devices that exchange with each other."""
    text = instruction.text
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(match[1])
    if match := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", text):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return len(match[1].split(","))
    return 1


def _sent(kind: str, instruction: Instruction) -> float:
    """Returns the bytes that each device sends with ring algorithms, which are optimal."""
    sizes = [count * width for count, width in arrays(instruction.shape)]
    largest, n = max(sizes, default=0), _group_size(instruction)
    if kind in ("collective-permute", BETWEEN_SLICES):
        return largest
    if kind == "reduce-scatter":
        return largest * (n - 1)  # the shape is that of the device's own shard of the result
    return largest * (n - 1) / max(n, 1) * (2 if kind == "all-reduce" else 1)


def _flops(instruction: Instruction, computation: Computation) -> float:
    """Returns a product's FLOPs: of [m, k] x [k, n], 2 mkn = 2 sqrt(mk * kn * mn) in any order of dimensions."""
    sides = [computation.by_name[o].shape for o in instruction.operands[:2] if o in computation.by_name]
    if len(sides) < 2:
        return 0.0
    elements = [arrays(shape)[0][0] for shape in (*sides, instruction.shape)]
    batch = 1
    if dims := re.search(r"lhs_batch_dims=\{([\d,]+)\}", instruction.text):
        _, shape = _ARRAY.findall(sides[0])[0]
        sizes = shape.split(",")
        batch = math.prod(int(sizes[int(d)]) for d in dims[1].split(","))
    return 2 * math.sqrt(math.prod(elements) / batch)


def _called(instruction: Instruction) -> Iterator[str]:
    """Yields the names of the computations that a fusion or call runs once."""
    for name in ("calls", "to_apply"):
        if (target := instruction.attribute(name)) and instruction.opcode in ("fusion", "call", "async-start"):
            yield target


def count(text: str) -> Counted:
    """Counts the work of a compiled program, for one device."""
    computations, entry = parse(text)
    out, seen = Counted(), set()

    def visit(name: str, times: float) -> None:
        computation = computations.get(name)
        if computation is None:
            return
        for instruction in computation.by_name.values():
            kind = instruction.opcode.removesuffix("-start")
            if instruction.opcode == "while":
                rounds = _rounds(instruction, computations)
                out.unknown_loops += rounds is None
                visit(instruction.attribute("body") or "", times * (rounds or 1))
            elif kind in COLLECTIVES:
                # an exchange that is spread over several products appears in each of them, under one channel
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
