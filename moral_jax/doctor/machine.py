"""Checks of the machine. Each function returns one `Check`."""

import contextlib
import fcntl
import glob
import importlib.util
import os
import platform
import shutil
import socket
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from moral_jax.runtime import jax_setup, places, supervisor
from moral_jax.runtime.files import cache_folder
from moral_jax.types import UserError

OK, WARN, FAIL = "ok", "warn", "FAIL"
GIB = 2**30
TPU_LOCK = Path("/tmp/libtpu_lockfile")
CUDNN = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12")


class Check(NamedTuple):
    """One finding; `to_do` is empty where all is well."""

    name: str
    state: str
    found: str
    to_do: str


def python_version() -> Check:
    """Checks Python's version against the range that the package requires."""
    required, installed = metadata.metadata("moral-jax")["Requires-Python"], platform.python_version()
    fits = SpecifierSet(required).contains(installed, prereleases=True)
    return Check("python", OK if fits else FAIL, installed, "" if fits else f"install Python {required}")


def libraries() -> Check:
    """Checks the version of every required library against its range."""
    required = [Requirement(line) for line in metadata.requires("moral-jax") or ()]
    required = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    bad = []
    for r in required:
        try:
            installed = metadata.version(r.name)
        except metadata.PackageNotFoundError:
            installed = "missing"
        if installed == "missing" or not r.specifier.contains(installed, prereleases=True):
            bad.append((r, installed))
    if not bad:
        return Check("libraries", OK, f"all {len(required)} in their ranges; jax {metadata.version('jax')}", "")
    message = ", ".join(f"{r.name} {version} (needs {r.specifier})" for r, version in bad)
    return Check("libraries", FAIL, message, "pip install -U " + " ".join(f"'{r.name}{r.specifier}'" for r, _ in bad))


def chips() -> str:
    """Returns the kind of accelerator in the machine, or cpu, whether or not JAX sees it."""
    if glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*"):
        return "tpu"
    return "gpu" if glob.glob("/dev/nvidia[0-9]*") else "cpu"


def devices() -> Check:
    """Checks that JAX finds the machine's accelerator."""
    try:
        local = jax.local_devices()
    except jax_setup.NO_DEVICES as e:
        return Check("devices", FAIL, *jax_setup.no_devices(e))
    limit = (local[0].memory_stats() or {}).get("bytes_limit")
    memory = f", {limit / GIB:.1f} GiB each" if limit else ""
    message = f"{len(local)} x {local[0].device_kind} ({local[0].platform}){memory}"
    if (accelerator := chips()) != "cpu" and local[0].platform == "cpu":
        extra = {"tpu": "jax[tpu]", "gpu": "jax[cuda13]"}[accelerator]
        message += f"; JAX does not use this machine's {accelerator}"
        return Check("devices", WARN, message, f"pip install -U '{extra}', unset JAX_PLATFORMS")
    return Check("devices", OK, message, "")


def computes() -> Check:
    """Checks a small matrix product on each device, because drivers that load may still not compute."""
    x = np.arange(64.0, dtype=np.float32).reshape(8, 8) / 64
    for device in jax.local_devices():
        try:
            got = np.asarray(jnp.matmul(*[jax.device_put(x, device)] * 2, precision="highest"))
        except (jax.errors.JaxRuntimeError, RuntimeError) as e:
            remedy = "stop other programs that use the device, or check its driver"
            return Check("computing", FAIL, f"{device}: {str(e).splitlines()[0]}", remedy)
        if not np.allclose(got, x @ x, atol=1e-4):
            return Check("computing", FAIL, f"{device}: wrong product", "take this machine out of use")
    return Check("computing", OK, "every device multiplies matrices correctly", "")


def cudnn() -> Check:
    """Checks that a cuDNN package is installed."""
    for name in CUDNN:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return Check("cuDNN", OK, f"{name} {metadata.version(name)}", "")
    return Check("cuDNN", WARN, "no package; the system's cuDNN, if any, is used", "pip install -U 'jax[cuda13]'")


def tpu(lock: Path) -> Check:
    """Checks libtpu, and the file by which one process locks the chips."""
    if importlib.util.find_spec("libtpu") is None:
        return Check("TPU", FAIL, "libtpu is not installed", "pip install -U 'jax[tpu]'")
    if lock.exists():
        try:
            with lock.open("r+") as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError:
            remedy = f"sudo rm {lock}, once no process uses the TPU"
            return Check("TPU", FAIL, f"{lock} belongs to another user", remedy)
        except BlockingIOError:
            return Check("TPU", FAIL, f"another process holds {lock}", f"stop it; fuser -v {lock} shows its id")
    return Check("TPU", OK, "libtpu is installed, and no process holds the chips", "")


def coordinator(flag: str) -> Check:
    """Checks the coordinator's port: free on the machine with that address; answering on others once process 0 runs."""
    host, port = supervisor.split_address(flag)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as e:
        return Check("coordinator", FAIL, f"{host}: {e}", "give an address that every machine can resolve")
    with socket.socket(family) as probe:
        try:
            probe.bind((address[0], 0))
            is_local = True
        except OSError:
            is_local = False
    obstacle = supervisor.reach(host, port, 5.0)
    if is_local and obstacle:
        return Check("coordinator", OK, f"this machine, and port {port} is free", "")
    if is_local:
        remedy = "fine if process 0 of this run is up; otherwise stop what listens there, or take another port"
        return Check("coordinator", FAIL, f"this machine, but port {port} is in use", remedy)
    if not obstacle:
        return Check("coordinator", OK, f"{flag} answers", "")
    if "refused" in obstacle:
        return Check("coordinator", WARN, f"{flag}: nothing listens there", "start process 0, then check again")
    return Check("coordinator", FAIL, f"{flag}: {obstacle}", "open the port between the machines, in every firewall")


def cache(folder: Path) -> Check:
    """Checks the folder for compiled programs and downloaded rows: writable, with free space."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        return Check("cache", FAIL, f"{folder}: {e.strerror}", "set MORAL_JAX_CACHE to a folder that you may write to")
    free = shutil.disk_usage(folder).free
    state, remedy = (OK, "") if free > GIB else (WARN, "free some space, or set MORAL_JAX_CACHE to a folder elsewhere")
    return Check("cache", state, f"{folder}, {free / GIB:.1f} GiB free; compiled programs are kept", remedy)


def disk(workdir: Path, needed: int) -> Check:
    """Checks that a run can lie there, with space for three checkpoints: the latest, the best, and the next."""
    try:
        places.check_workdir(workdir)
    except UserError as e:
        return Check("disk", FAIL, str(e), "pass --workdir=ANOTHER")
    existing = next(p for p in (workdir.absolute(), *workdir.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    message = f"{existing}: {free / GIB:.1f} GiB free, checkpoints need {needed / GIB:.1f}"
    if not os.access(existing, os.W_OK):
        return Check("disk", FAIL, f"{existing}: may not be written to", "pass --workdir=ANOTHER")
    state, remedy = (OK, "") if free > needed else (FAIL, "free some space, or pass --workdir=ANOTHER")
    return Check("disk", state, message, remedy)


def checks(address: str | None) -> list[Check]:
    """Returns the results of all checks that apply to this machine."""
    out = [python_version(), libraries(), devices()]
    if out[-1].state != FAIL:
        out.append(computes())
        out += [cudnn()] if jax.default_backend() == "gpu" else []
    out += [tpu(TPU_LOCK)] if chips() == "tpu" else []
    try:
        out.append(cache(cache_folder()))
    except UserError as e:
        out.append(Check("cache", FAIL, str(e), "set MORAL_JAX_CACHE to a folder that you may write to"))
    if address:
        try:
            out.append(coordinator(address))
        except UserError as e:
            out.append(Check("coordinator", FAIL, str(e), "correct the flag"))
    return out
