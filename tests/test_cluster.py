"""The files of examples/cluster: each starts a command that this version takes, with a preset for its machine.

Their forms are checked by their own programs, by hand (docs/cluster.md): here is what those cannot know.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from moral_jax.config import parsing
from moral_jax.runtime import supervisor

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "cluster"
VARIABLES = {"NODES": "2", "JOB_COMPLETION_INDEX": "1", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1",
             "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "PATH": os.environ["PATH"]}  # fmt: skip


def words(line: str) -> list[str]:
    """Returns the arguments that a shell gives to train.py."""
    shown = line.replace("exec ", "").replace("python train.py", "printf '%s\\n'")
    return subprocess.run(
        ["bash", "-c", shown], env=VARIABLES, capture_output=True, text=True, check=True
    ).stdout.split()


def kubernetes() -> dict:
    _, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    return job["spec"]


def command_of(file: str, tmp_path: Path) -> list[str]:
    if file == "kubernetes.yaml":
        [container] = kubernetes()["template"]["spec"]["containers"]
        return words(container["args"][0])
    if file == "sky.yaml":
        return words(yaml.safe_load((FOLDER / file).read_text())["run"])
    xpk = tmp_path / "xpk"  # says what it is asked for
    xpk.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    xpk.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CLUSTER": "mine", "IMAGE": "ours", "SLICES": "2"}
    done = subprocess.run([FOLDER / file, "--dry-run"], env=environment, capture_output=True, text=True, check=True)
    asked = done.stdout.splitlines()
    assert asked[:3] == ["workload", "create", "--cluster=mine"]
    assert {"--tpu-type=v5litepod-16", "--docker-image=ours", "--dry-run"} < set(asked)
    [line] = [word.removeprefix("--command=") for word in asked if word.startswith("--command=")]
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    ("file", "adapters", "slices"), [("kubernetes.yaml", "none", 1), ("sky.yaml", "none", 1), ("xpk.sh", "none", 2)]
)
def test_the_command_is_one_that_train_takes(file, adapters, slices, tmp_path):
    flags = dict(word.removeprefix("--").split("=", 1) for word in command_of(file, tmp_path))
    coordinator = flags.pop("coordinator", None)
    processes, process = (int(flags.pop(name)) if name in flags else None for name in ("processes", "process"))
    assert supervisor.expects_others(coordinator, processes, process) == (file != "xpk.sh")
    assert (processes, process) == ((None, None) if file == "xpk.sh" else (2, 1))
    assert flags.pop("workdir").startswith("/runs/")
    config = parsing.from_flags([f"--{name}={value}" for name, value in flags.items()])
    assert (config.adapter.kind, config.mesh.slices, config.model.remat) == (adapters, slices, "full")


def test_kubernetes_tries_again_except_after_invalid_input():
    """Exit code 2 is ours for invalid input; the folder of runs is the one that is mounted."""
    job = kubernetes()
    [rule] = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {mounts["/runs"], mounts["/dev/shm"]} == {volume["name"] for volume in pod["volumes"]}
    assert job["completions"] == job["parallelism"] == int(container["env"][0]["value"])


def test_a_run_that_was_cut_short_does_not_pass_for_a_finished_one():
    for file in ("kubernetes.yaml", "sky.yaml", "xpk.sh"):
        assert re.search(r'MORAL_JAX_PREEMPTED_EXIT\W+(value: )?"?75', (FOLDER / file).read_text()), file
