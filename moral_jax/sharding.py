"""Where every array lives: the mesh, and the one table of axes. The only PartitionSpecs of the project."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from moral_jax.config.model import MeshConfig
from moral_jax.types import Array, Batch, UserError

AXES = DATA, FSDP, TENSOR = ("data", "fsdp", "tensor")
ROWS = (DATA, FSDP)  # both cut the rows of a batch; fsdp also cuts weights, which are gathered layer by layer

# How a parameter's path ends -> the mesh axis (or axes) that cut each of its dimensions. A leading axis of layers is
# left out: it is never cut. Moments and gradients live like their parameter. Matrices that widen are cut by tensor in
# their outputs, matrices that narrow in their inputs, so that between the two nothing is exchanged (arXiv 1909.08053).
# Quantised matrices are cut as the others: their codes and the scales of their blocks have the same two dimensions.
KERNEL = "kernel(/int8|/nf4|/absmax)?"
PARAMETERS = (
    (r"(un)?embedding", (TENSOR, FSDP)),  # VD
    (r"unembedding_bias", (None,)),
    (r"(type|position|relative)_embedding", (None, FSDP)),
    (rf"attention/(query|key|value|qkv)/{KERNEL}", (FSDP, TENSOR)),  # DN, heads in the last
    (rf"mlp/(gate|up|gate_up)/{KERNEL}", (FSDP, TENSOR)),  # DF
    (rf"attention/out/{KERNEL}", (TENSOR, FSDP)),
    (rf"mlp/down/{KERNEL}", (TENSOR, FSDP)),
    (r"kernel/scale", (None,)),
    # of adapters the rank (R) is too small to be cut, so fsdp takes the other dimension; tensor only that which it cuts
    # in the matrix beside, or activations would have to be exchanged
    (r"(query|key|value|qkv|gate|up|gate_up)/a", (FSDP, None)),  # DR
    (r"(query|key|value|qkv|gate|up|gate_up)/b", (None, (TENSOR, FSDP))),  # RN, RF
    (r"(out|down)/a", ((TENSOR, FSDP), None)),
    (r"(out|down)/b", (None, FSDP)),
    (r"magnitude", (None,)),
    (r"(attention|mlp|attention_out|mlp_out|query|key|final|embedding|relative)_norm/(scale|bias)", (None,)),
    (r"(query|key|value|qkv|out|gate|up|gate_up|down)/bias", (None,)),
    (r"(head|critic)/bias", ()),
    (r"(head|critic)/kernel", (None, None)),
    (r"score/rows", (None, None)),
    (r"score/pooler/kernel", (FSDP, TENSOR)),
    (r"score/(pooler/)?bias", (None,)),
    (r"score/pooler/norm/(scale|bias)", (None,)),
)
STACKED = r"(^|/)(frozen_)?layers/"
WHOLE = PartitionSpec()  # of what every device holds
# Dimension letters of an activation -> axes.
ACTIVATIONS = {
    "BTD": (ROWS, None, None),
    "BTNH": (ROWS, None, TENSOR, None),
    "BTF": (ROWS, None, TENSOR),
    "BTS": (ROWS, None, None),
    "BAD": (ROWS, None, None),
}


def mesh_shape(config: MeshConfig, devices: int) -> tuple[int, int, int]:
    """Sizes of (data, fsdp, tensor), the -1 filled in; data counts the slices too.

    Raises:
      UserError: the sizes do not multiply to the number of devices.
    """
    sizes = {DATA: config.data, FSDP: config.fsdp, TENSOR: config.tensor}
    known = config.slices * math.prod(n for n in sizes.values() if n != -1)
    asked = " x ".join(f"{axis}={n}" for axis, n in sizes.items()) + f" x slices={config.slices}"
    if -1 in sizes.values() and devices % known == 0:
        sizes = {axis: devices // known if n == -1 else n for axis, n in sizes.items()}
    elif known != devices or -1 in sizes.values():
        raise UserError(f"config.mesh: {asked} does not divide {devices} devices; set one axis to -1, others to fit")
    return config.slices * sizes[DATA], sizes[FSDP], sizes[TENSOR]


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of all (or the given) devices. Slices are laid along `data`: only gradients cross the slow network.

    An axis takes whole rings of a slice where some have its size, and a part of one where none has (2 of a 4x4).
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(config, len(devices))
    if config.slices == 1:
        return Mesh(mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True), AXES)
    inner = (shape[0] // config.slices, *shape[1:])
    # GPUs: the slow network lies between machines
    by_process = len({getattr(device, "slice_index", 0) for device in devices}) < config.slices
    try:
        grid = mesh_utils.create_hybrid_device_mesh(
            inner, (config.slices, 1, 1), devices, process_is_granule=by_process, allow_split_physical_axes=True
        )
    except ValueError as e:
        raise UserError(f"config.mesh.slices={config.slices}: the devices do not lie in so many slices ({e})") from e
    return Mesh(grid, AXES)


def cut_rows(mesh: Mesh) -> int:
    """Into how many parts the rows of a batch are cut."""
    return mesh.shape[DATA] * mesh.shape[FSDP]


def rounded_up(rows: int, parts: int) -> int:
    """The least multiple of `parts` that is not below `rows`."""
    return -(-rows // parts) * parts


def micro_batch_rows(asked: int, mesh: Mesh) -> int:
    """Rows in a micro-batch: as many as asked for, and more where the mesh has more parts to fill."""
    return rounded_up(asked, cut_rows(mesh))


def batch_rows(asked: int, micro_rows: int) -> int:
    """Rows in a step: whole micro-batches."""
    return rounded_up(asked, micro_rows)


def path_name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def rules_of(path: str) -> list[tuple[Any, ...]]:
    """Every rule that matches a parameter's path: exactly one, where all is well."""
    stacked = (None,) if re.search(STACKED, path) else ()
    return [stacked + axes for pattern, axes in PARAMETERS if re.search(rf"(^|/){pattern}$", path)]


def axes_of(path: str, rank: int) -> tuple[Any, ...]:
    """The axes that cut a leaf of the train state.

    Raises:
      ValueError: no rule, more than one, or one for another rank: names the path.
    """
    if rank == 0:
        return ()  # counters, and the scalars of the concentration head
    rules = rules_of(path)
    if len(rules) != 1 or len(rules[0]) != rank:
        raise ValueError(f"{path} (rank {rank}): needs one rule of its rank in sharding.PARAMETERS, has {rules}")
    return rules[0]


def _fitting(shape: tuple[int, ...], axes: tuple[Any, ...], mesh: Mesh) -> PartitionSpec:
    """Axes that do not divide their dimension leave it whole: slower, never wrong."""

    def divides(axis: Any, size: int) -> bool:
        return size % math.prod(mesh.shape[a] for a in (axis if isinstance(axis, tuple) else (axis,))) == 0

    return PartitionSpec(
        *(axis if axis and divides(axis, size) else None for size, axis in zip(shape, axes, strict=True))
    )


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The tree of NamedShardings of parameters, gradients, or a whole train state (arrays or shapes)."""

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, _fitting(leaf.shape, axes_of(path_name(path), leaf.ndim), mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def abstract(tree: Any, mesh: Mesh) -> Any:
    """Shapes, types and places of a tree, as restoring a checkpoint asks for them."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree, shardings(tree, mesh)
    )


def held_bytes(tree: Any) -> int:
    """Bytes of a tree (arrays, or shapes with places) on one device."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def of_batch(mesh: Mesh, *, micro_batches: bool) -> NamedSharding:
    """Rows are cut, for every leaf of [B, ...], or [M, B, ...] with micro-batches."""
    return NamedSharding(mesh, PartitionSpec(None, ROWS) if micro_batches else PartitionSpec(ROWS))


def activation(letters: str, mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*ACTIVATIONS[letters]))


def constrain(x: Array, letters: str, mesh: Mesh) -> Array:
    """Tells the compiler where an activation lives, so that it moves weights to rows and not rows to weights."""
    return jax.lax.with_sharding_constraint(x, activation(letters, mesh))


def constrain_tree(tree: Any, mesh: Mesh) -> Any:
    """The same for gradients: summed straight into the shards of their parameters."""
    return jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))


def of_cache(state: Any, mesh: Mesh) -> Any:
    """Returns the shardings of what a sampler holds: texts are cut like rows, heads by tensor, where these divide them.

    Leaves are keys and values [..., texts, K, length, H], and hidden states [texts, D].
    """

    def place(leaf: Any) -> NamedSharding:
        axes = (*(None,) * (leaf.ndim - 4), ROWS, TENSOR, None, None) if leaf.ndim >= 4 else (ROWS, None)
        return NamedSharding(mesh, _fitting(leaf.shape, axes, mesh))

    return jax.tree.map(place, state)


def local_rows(rows: int, micro_rows: int, mesh: Mesh) -> list[int]:
    """Which of a batch's rows lie on this process's devices, in order, cut into micro-batches first."""
    indices = of_batch(mesh, micro_batches=False).addressable_devices_indices_map((micro_rows,)).values()
    held = np.unique(np.concatenate([np.arange(micro_rows)[index] for index in indices]))
    return [int(start + row) for start in range(0, rows, micro_rows) for row in held]


def place(batch: Batch, rows: int, mesh: Mesh, *, micro_batches: bool) -> Batch:
    """Puts this process's rows of a batch on its devices, as its part of the whole batch of `rows` rows."""
    where = of_batch(mesh, micro_batches=micro_batches)
    axis = 1 if micro_batches else 0

    def put(leaf: np.ndarray) -> Array:
        whole_shape = (*leaf.shape[:axis], rows, *leaf.shape[axis + 1 :])
        return jax.make_array_from_process_local_data(where, leaf, whole_shape)

    return jax.tree.map(put, batch)
