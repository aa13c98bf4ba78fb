"""The doctor: well on a whole machine, and each thing that is broken on purpose is found, with what to do."""

import fcntl
import json
import socket
from importlib import metadata
from types import SimpleNamespace

import jax
import pytest

from moral_jax.cli import main
from moral_jax.doctor import examine, machine
from moral_jax.doctor.machine import FAIL, OK, WARN
from moral_jax.models import api
from moral_jax.types import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def config_file(tiny_folder, tmp_path):
    (tmp_path / "c.py").write_text(
        "from moral_jax import config\n\ndef get_config():\n    c = config.default()\n"
        f"    c.model.path, c.task.name, c.task.limit = {str(tiny_folder)!r}, 'synthetic', 8\n"
        "    c.data.length = 224\n    return c\n"
    )
    return tmp_path / "c.py"


@pytest.fixture
def doctor(config_file, tmp_path, capsys):
    """Runs the command; returns its exit code and its checks by name."""

    def run(*flags, config=True):
        given = [f"--config={config_file}"] if config else []
        code = main.main(["doctor", *given, f"--workdir={tmp_path / 'runs'}", "--json", *flags])
        checks = [machine.Check(**c) for c in json.loads(capsys.readouterr().out)]
        assert code == int(any(c.state == FAIL for c in checks))
        assert all(bool(c.to_do) == (c.state != OK) for c in checks)
        by_name = {c.name: c for c in checks}
        assert len(by_name) == len(checks)
        return code, by_name

    return run


TEXTS = {
    ("texts", "sft"): {"prompt": "May I?", "completion": " No."},
    ("preferences", "dpo"): {"prompt": "May I?", "chosen": "No, and why would you?", "rejected": "Sure."},
}


@pytest.mark.parametrize("of", TEXTS)
def test_runs_on_texts(doctor, tmp_path, of):
    """What is learned is shown, and a pair that is too long is found before the run."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(TEXTS[of] | {"prompt": f"May I do {i}?"}) + "\n" for i in range(12)))
    task, objective = of
    flags = [f"--config.task.name={task}", f"--config.task.path={path}", f"--config.objective.name={objective}"]
    code, checks = doctor(*flags)
    assert (code, checks["prompt"].state) == (0, OK), checks
    assert checks["data"].found.startswith("8 train")
    assert list(TEXTS[of].values())[1].strip() in checks["prompt"].found
    if task == "preferences":
        path.write_text(path.read_text().replace("No, and", "No, " + "no, " * 300 + "and"))
        code, checks = doctor(*flags)
        assert (code, checks["prompt"].state) == (1, FAIL)
        assert "--config.task.on_bad_row=drop" in checks["prompt"].found


def test_a_whole_machine_and_config_are_well(doctor):
    code, checks = doctor()
    assert code == 0
    assert {c.state for c in checks.values()} == {OK}
    assert list(checks) == [
        "python", "libraries", "devices", "computing", "cache",
        "model", "memory", "disk", "attention", "data", "prompt",
    ]  # fmt: skip
    assert checks["devices"].found == f"{jax.local_device_count()} x cpu (cpu)"
    assert checks["data"].found == "8 train, 8 validation, 8 test"
    assert "'A' or ' A' | 'B' or ' B'" in checks["prompt"].found


def test_the_machine_alone(doctor):
    assert set(doctor(config=False)[1]) == {"python", "libraries", "devices", "computing", "cache", "disk"}


@pytest.mark.parametrize(
    ("flag", "name", "found"),
    [
        ("--config.task.path=nowhere.jsonl", "data", "nowhere.jsonl"),
        ("--config.model.path=./nowhere", "model", "no such file or folder"),
        ("--config.mesh.tensor=7", "model", "does not divide"),
        ("--config.prompt.labels=AA", "config", "characters that differ"),
        ("--config.prompt.template={nonsense}", "prompt", "{nonsense} is unknown"),
        ("--config.model.attention=splash", "attention", "splash runs on TPU"),
        ("--config.optim.lrr=1", "config", "did you mean"),
    ],
)
def test_what_is_wrong_with_a_config_is_one_line_of_its_own(doctor, flag, name, found):
    code, checks = doctor(flag)
    assert code == 1
    assert [n for n, c in checks.items() if c.state != OK] == [name]
    assert found in checks[name].found


def test_prompts_that_are_cut_are_a_warning(doctor, tmp_path):
    row = {"text": "She read it. " * 200, "question": "Was it wrong?", "options": ["yes", "no"], "counts": [3, 2]}
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(50)))
    code, checks = doctor("--config.task.name=votes", f"--config.task.path={tmp_path / 'long.jsonl'}")
    assert (code, checks["prompt"].state) == (0, WARN)
    assert "are cut" in checks["prompt"].found
    assert "--config.data.length=224" in checks["prompt"].to_do


def test_splits_that_are_empty_are_a_warning(doctor):
    code, checks = doctor("--config.task.test=0")
    assert (code, checks["data"].state) == (0, WARN)
    assert "0 test" in checks["data"].found


def test_a_tokenizer_of_another_model(doctor, tiny_folder, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    said = json.loads((tiny_folder / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(said | {"vocab_size": 9}))
    code, checks = doctor(f"--config.model.path={small}", f"--config.model.tokenizer={tiny_folder}")
    assert (code, checks["model"].state) == (1, FAIL)
    assert "vocabulary 9, tokenizer of" in checks["model"].found


def test_an_attention_that_is_slower_than_need_be_is_a_warning(doctor, monkeypatch):
    monkeypatch.setattr(examine, "choose_attention", lambda *_: ("plain", "heads of 12 are too narrow"))
    code, checks = doctor()
    assert (code, checks["attention"].state) == (0, WARN)
    assert checks["attention"].found == "plain, because heads of 12 are too narrow"


def test_devices_of_the_host_share_its_memory(monkeypatch):
    device, free = jax.local_devices()[0], {}
    for count in (1, 8):
        monkeypatch.setattr(jax, "local_device_count", lambda count=count: count)
        free[count] = examine.available(device)
    assert 6 < free[1] / free[8] < 10  # other programs take and give meanwhile


def test_a_model_without_a_chat_template(doctor, tiny_folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in tiny_folder.iterdir():
        if file.suffix != ".jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    words = json.loads((bare / "tokenizer_config.json").read_text())
    words.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(words))
    _, checks = doctor(f"--config.model.path={bare}")
    assert checks["prompt"].state == FAIL
    assert "no chat template; use 'plain'" in checks["prompt"].found


def test_libraries_outside_their_ranges(doctor, monkeypatch):
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["jax>=99", "no-such-library>=1", "numpy>=2", "torch>=99; extra == 'test'"]
    )
    code, checks = doctor(config=False)
    assert code == 1
    assert checks["libraries"].found == f"jax {jax.__version__} (needs >=99), no-such-library missing (needs >=1)"
    assert checks["libraries"].to_do == "pip install -U 'jax>=99' 'no-such-library>=1'"


def test_a_python_that_is_too_old(doctor, monkeypatch):
    monkeypatch.setattr(machine.platform, "python_version", lambda: "3.9.1")
    assert doctor(config=False)[1]["python"] == ("python", FAIL, "3.9.1", "install Python >=3.11")


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("Unable to initialize backend 'tpu'"), "initialize backend"), (AssertionError(), "no such device")],
)
def test_no_device(error, said, doctor, monkeypatch):
    """What JAX raises with JAX_PLATFORMS=tpu, and with JAX_PLATFORMS=cuda."""

    def none():
        raise error

    monkeypatch.setattr(jax, "local_devices", none)
    _, checks = doctor()
    assert checks["devices"].state == FAIL
    assert said in checks["devices"].found
    assert "JAX_PLATFORMS" in checks["devices"].found
    assert "unset JAX_PLATFORMS, or install the plugin" in checks["devices"].to_do
    assert "computing" not in checks
    assert "model" not in checks


def test_an_accelerator_that_jax_does_not_see(doctor, monkeypatch):
    monkeypatch.setattr(machine.glob, "glob", lambda p: ["/dev/nvidia0"] if "nvidia" in p else [])
    code, checks = doctor(config=False)
    assert (code, checks["devices"].state) == (0, WARN)
    assert "jax[cuda" in checks["devices"].to_do


def test_a_device_that_computes_nonsense(doctor, monkeypatch):
    monkeypatch.setattr(machine.jnp, "matmul", lambda a, b, **_: a + b)
    assert doctor(config=False)[1]["computing"].found.endswith("wrong product")


def test_a_tpu_that_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: None)
    assert machine.tpu(tmp_path / "none").found == "libtpu is not installed"
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: object())
    lock = tmp_path / "lock"
    assert machine.tpu(lock).state == OK
    with lock.open("w") as f:
        assert machine.tpu(lock).state == OK  # a file that nobody holds hinders nobody
        fcntl.flock(f, fcntl.LOCK_EX)
        assert machine.tpu(lock).state == FAIL
        assert "another process" in machine.tpu(lock).found

    def denied(*_):
        raise PermissionError

    monkeypatch.setattr(fcntl, "flock", denied)
    assert (machine.tpu(lock).state, "another user" in machine.tpu(lock).found) == (FAIL, True)


@pytest.mark.parametrize(("file", "backend", "names"), [("/dev/accel0", "cpu", {"TPU"}), ("", "gpu", {"cuDNN"})])
def test_what_an_accelerator_needs_is_checked_where_there_is_one(doctor, monkeypatch, file, backend, names):
    monkeypatch.setattr(machine.glob, "glob", lambda p: [file] if file and "accel" in p else [])
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert names == {"TPU", "cuDNN"} & set(doctor(config=False)[1])


def test_a_folder_for_runs_that_cannot_be_written(doctor, monkeypatch):
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    code, checks = doctor(config=False)
    assert (code, checks["disk"].state) == (1, FAIL)
    assert "may not be written to" in checks["disk"].found


def test_a_cache_that_cannot_be_written(doctor, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "file" / "cache"))
    code, checks = doctor(config=False)
    assert (code, checks["cache"].state) == (1, FAIL)
    assert "MORAL_JAX_CACHE" in checks["cache"].to_do


def test_a_coordinators_port(doctor):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = doctor(f"--coordinator=127.0.0.1:{port}", config=False)[1]["coordinator"]
    assert (taken.state, taken.found) == (FAIL, f"this machine, but port {port} is in use")
    free = doctor(f"--coordinator=127.0.0.1:{port}", config=False)[1]["coordinator"]
    assert (free.state, free.found) == (OK, f"this machine, and port {port} is free")
    wrong = doctor("--coordinator=127.0.0.1", config=False)[1]["coordinator"]
    assert (wrong.state, "HOST:PORT" in wrong.found) == (FAIL, True)
    unknown = doctor("--coordinator=no-such-host.invalid:80", config=False)[1]["coordinator"]
    assert (unknown.state, "every machine can resolve" in unknown.to_do) == (FAIL, True)


@pytest.mark.parametrize(
    ("obstacle", "state"), [("", OK), ("[Errno 111] Connection refused", WARN), ("timed out", FAIL)]
)
def test_a_coordinator_elsewhere(monkeypatch, obstacle, state):
    """192.0.2.1 is an address for documentation: no machine has it."""
    monkeypatch.setattr(machine.supervisor, "reach", lambda *_: obstacle)
    assert machine.coordinator("192.0.2.1:80").state == state


@pytest.mark.parametrize("where", ["gs://bucket/runs/a", "a\\b"])
def test_a_place_where_no_run_can_lie(where, doctor):
    code, checks = doctor(f"--workdir={where}", config=False)
    assert (code, checks["disk"].state) == (1, FAIL)
    assert "--workdir" in checks["disk"].found


def test_no_home_and_no_cache(doctor, monkeypatch):
    def no_home():
        raise UserError("~/.cache: this user has no home")

    monkeypatch.setattr(machine, "cache_folder", no_home)
    code, checks = doctor(config=False)
    assert (code, checks["cache"].state) == (1, FAIL)
    assert "MORAL_JAX_CACHE" in checks["cache"].to_do


def test_memory_and_disk(doctor, monkeypatch):
    assert [examine.memory(needed, 100).state for needed in (60, 80, 101)] == [OK, WARN, FAIL]
    # three checkpoints of the tiny model are more than the second, one is less
    for free, with_config in ((1000, False), (1_000_000, True)):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        _, checks = doctor(config=with_config)
        assert (checks["disk"].state, checks["cache"].state) == (FAIL, WARN)


def test_the_state_of_a_model_in_bytes(config_file):
    """On every device: a part of the weights, the same of the gradients, and twice as much of float32 moments."""
    config = examine.parsing.from_flags([f"--config={config_file}", "--config.mesh.fsdp=1", "--config.mesh.data=-1"])
    files = examine.find_model(config)
    weights = sum(x.size * 4 for x in jax.tree.leaves(api.abstract_params(files.model)))
    on_one, on_disk = examine.state_bytes(files, config)
    assert weights * 3 <= on_disk < weights * 3 + 100  # counters come on top
    assert on_one == on_disk + weights
    cut = examine.parsing.from_flags([f"--config={config_file}"])
    assert examine.state_bytes(examine.find_model(cut), cut)[0] < on_one / jax.device_count() * 1.6


def test_the_hub_is_asked_only_for_what_is_there(doctor, monkeypatch):
    asked = []

    class Hub:
        def model_info(self, name, **_):
            asked.append(name)
            raise OSError("no network")

    monkeypatch.setattr(examine.huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(
        examine.huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("no network"))
    )
    assert "hub" not in doctor()[1]
    assert asked == []
    _, checks = doctor("--config.model.path=owner/model@main")
    assert asked == ["owner/model"]
    assert (checks["hub"].state, checks["model"].state) == (FAIL, FAIL)
    assert "could not be fetched" in checks["model"].found


def test_the_table_is_aligned_and_says_what_to_do(config_file, tmp_path, capsys):
    flags = ["doctor", f"--config={config_file}", f"--workdir={tmp_path}", "--config.task.path=nowhere.jsonl"]
    assert main.main(flags) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(line.split(maxsplit=2)[2]) for line in lines if "->" not in line}) == 1
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL  data"))
    assert lines[at + 1].strip() == "-> correct --config.task.path or the row"
