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

import numpy as np

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")
BETWEEN_SLICES = "send"  # the TPU compiler turns exchanges between slices into sends
BETWEEN_MACHINES = " between machines"  # the end of an exchange's kind; the GPU compiler has one kind for both
CALLS = ("fusion", "call", "async")
CUDNN, CUBLAS = "__cudnn$fmha", "__cublas$"  # what calls of the GPU's attention and of its products begin with
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
_BATCH = re.compile(r'lhs_batch_dim(?:s=\{|ensions":\[)([^\]}]+)')
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
    attention: float = 0.0  # FLOPs of cuDNN's kernels; not among `flops`
    unknown_loops: int = 0  # loops whose number of rounds could not be read; their bodies count once

    @property
    def sent_within(self) -> float:
        """Bytes sent within a slice or a machine."""
        return sum(n for k, n in self.sent.items() if k != BETWEEN_SLICES and not k.endswith(BETWEEN_MACHINES))


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


def _group(instruction: Instruction) -> list[int]:
    """Returns devices that exchange with each other: one group, as all are alike."""
    text = instruction.text
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\](?:<=\[([\d,]+)\](?:T\(([\d,]+)\))?)?", text):
        groups, size = int(match[1]), int(match[2])
        sizes, order = (
            [int(n) for n in (match[i] or usual).split(",")] for i, usual in ((3, str(groups * size)), (4, "0"))
        )
        order = order if match[4] else list(range(len(sizes)))
        return np.arange(groups * size).reshape(sizes).transpose(order).reshape(groups, size)[0].tolist()
    if match := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", text):
        of_axis = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
        within = re.findall(r"'(\w+)'", match[2])
        at = tuple(slice(None) if axis in within else 0 for axis in of_axis)
        return np.arange(math.prod(of_axis.values())).reshape(list(of_axis.values()))[at].ravel().tolist()
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return [int(n) for n in match[1].split(",")]
    if match := re.search(r"source_target_pairs=\{(\{[\d,{}]+\})\}", text):  # not alike: those that are farthest apart
        pairs = [[int(n) for n in pair.split(",")] for pair in re.findall(r"\{([\d,]+)\}", match[1])]
        return max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
    return [0]


def _result_bytes(instruction: Instruction) -> float:
    """Returns the bytes of a collective's results: one array, or several that are exchanged at once.

    What starts an exchange has its operands in its shape too: in a tuple of their own, or before the one result.
    """
    shape, is_start = instruction.shape, instruction.opcode.endswith("-start")
    if is_start and shape.startswith("(("):
        shape = shape[_closing(shape, 1) :]
    sizes = [count * width for count, width in arrays(shape)]
    one = (is_start and shape == instruction.shape) or instruction.opcode == BETWEEN_SLICES
    return max(sizes, default=0) if one else sum(sizes)


def _sent(kind: str, instruction: Instruction, devices: int) -> float:
    """Returns the bytes that each device sends with ring algorithms, which are optimal.

    Args:
      devices: number of those that exchange with each other.
    """
    size, n = _result_bytes(instruction), devices
    if kind in ("collective-permute", BETWEEN_SLICES):
        return size
    if kind == "reduce-scatter":
        return size * (n - 1)  # the results are the device's own shards
    return size * (n - 1) / max(n, 1) * (2 if kind == "all-reduce" else 1)


def _flops(instruction: Instruction, computation: Computation) -> float:
    """Returns a product's FLOPs: of [m, k] x [k, n], 2 mkn = 2 sqrt(mk * kn * mn) in any order of dimensions."""
    sides = [computation.by_name[o].shape for o in instruction.operands[:2] if o in computation.by_name]
    if len(sides) < 2:
        return 0.0
    elements = [arrays(shape)[0][0] for shape in (*sides, instruction.shape)]
    batch = 1
    if dims := _BATCH.search(instruction.text):
        _, shape = _ARRAY.findall(sides[0])[0]
        sizes = shape.split(",")
        batch = math.prod(int(sizes[int(d)]) for d in re.findall(r"\d+", dims[1]))
    return 2 * math.sqrt(math.prod(elements) / batch)


def _called(instruction: Instruction) -> Iterator[str]:
    """Yields the names of the computations that a fusion or call runs once."""
    for name in ("calls", "to_apply"):
        if (target := instruction.attribute(name)) and instruction.opcode.removesuffix("-start") in CALLS:
            yield target


def _target(instruction: Instruction) -> str:
    match = re.search(r'custom_call_target="([^"]+)"', instruction.text)
    return match[1] if match else ""


def _attention_flops(instruction: Instruction, computation: Computation) -> float:
    """Returns the FLOPs of a run of cuDNN's attention on q [B, T, N, H] and k [B, S, K, H] with a mask as data: every
    query meets every key, twice forward, and in five products backward."""
    q, k = (_ARRAY.findall(computation.by_name[name].shape)[0][1].split(",") for name in instruction.operands[:2])
    products = 5 if _target(instruction).endswith("Backward") else 2
    return products * 2.0 * math.prod(int(n) for n in q) * int(k[1])


def count(text: str, together: int | None = None) -> Counted:
    """Counts the work of a compiled program, for one device.

    Args:
      together: number of devices in a machine, where the program does not tell exchanges between machines apart.
    """
    computations, entry = parse(text)
    out, seen = Counted(), set()

    def exchange(instruction: Instruction, kind: str, times: float) -> None:
        # an exchange that is spread over several products appears in each of them, under one channel
        channel = instruction.attribute("channel_id") or instruction.name
        if (kind, channel) not in seen:
            seen.add((kind, channel))
            group = _group(instruction)
            reaches_out = together and len({device // together for device in group}) > 1
            name = kind + BETWEEN_MACHINES if reaches_out else kind
            out.sent[name] += times * _sent(kind, instruction, len(group))

    def kernel(instruction: Instruction, computation: Computation, times: float) -> None:
        target = _target(instruction)
        if target == "tpu_custom_call":
            out.kernels[re.sub(r"[.\d]+$", "", instruction.name)] += times
        elif target.startswith(CUDNN):
            out.kernels[target.removeprefix("__")] += times
            out.attention += times * _attention_flops(instruction, computation)
        elif target.startswith(CUBLAS):
            out.flops += times * _flops(instruction, computation)

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
                exchange(instruction, kind, times)
            elif kind in ("dot", "convolution"):
                out.flops += times * _flops(instruction, computation)
            elif kind == "custom-call":
                kernel(instruction, computation, times)
            for target in _called(instruction):
                visit(target, times)

    visit(entry, 1.0)
    return out
