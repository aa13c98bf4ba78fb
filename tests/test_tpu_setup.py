"""tpu_setup.sh against a gcloud that plays a slice: its workers are directories, and what is sent to them really runs.

The played slice is a few files: `queue` holds the states that the queued resource goes through, one a look (the last
one stays; nothing is no such resource), `node` the node's state, `silent` the number of workers that do not answer,
`broken` what happens to the next starts of a command, `calls` every call of gcloud, quoted.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("tpu_setup.sh", "tpu_worker.sh")
SECRET = "hf_kAjlXvWz"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it plays the workers, and they are Linux machines")

GCLOUD = r"""
printf '%q ' "$@" >>"$PLAY/calls"
echo >>"$PLAY/calls"
cd "$PLAY"
for word in "$@"; do
  case $word in
    --command=*) line=${word#*=} ;;
    --format=*) format=${word#*=} ;;
  esac
done

missing() {
  echo "ERROR: (gcloud) NOT_FOUND: Resource 'projects/p/locations/z/x/$1' was not found." >&2
  exit 1
}

next() { # takes the first line off a file
  head -n 1 "$1"
  sed -i 1d "$1"
}

ssh() {
  local happens='' pids=() found=0 home code
  [[ $line != *" start "* ]] || happens=$(next broken)
  if [[ $happens == SUSPENDED ]]; then
    echo SUSPENDED >queue
    echo PREEMPTED >node
    exit 143 # the machine's end ended the command first
  fi
  for home in $(ls -d homes/* | head -n -"$(<silent)"); do
    env -i HOME="$PLAY/$home" HOSTNAME="t1v-n-0a1b-w-${home#homes/}" PATH="$PLAY/worker:$PATH" PLAY="$PLAY" \
      LIBTPU_LOCK="$PLAY/lock" setsid bash -c "cd; $line" &
    pids+=($!)
  done
  if [[ $happens == LOST ]]; then
    until [[ $(ls homes/*/tpu_job/jobs/*/pid 2>/dev/null | wc -l) == 2 ]]; do sleep 0.02; done
    for pid in "${pids[@]}"; do kill -KILL -- "-$pid"; done
    exit 255
  fi
  for pid in "${pids[@]}"; do
    wait "$pid" || code=$?
    ((found)) || found=${code:-0}
  done
  (($(<silent) == 0)) || found=255
  exit "$found"
}

case "$3 $4" in
  'queued-resources describe')
    state=$(head -n 1 queue)
    (($(wc -l <queue) < 2)) || sed -i 1d queue
    case $state in
      '' | NONE) missing "$5" ;;
      DENIED) echo "ERROR: PERMISSION_DENIED on $5" >&2 && exit 1 ;;
      *) echo "$state" ;;
    esac
    ;;
  'queued-resources create')
    [[ $(<queue) =~ ^(NONE)?$ ]] || { echo ALREADY_EXISTS >&2 && exit 1; }
    cp next_queue queue
    echo READY >node
    rm -rf homes
    mkdir -p homes/0 homes/1
    ;;
  'queued-resources delete')
    [[ $* == *--force* ]] || { echo FAILED_PRECONDITION >&2 && exit 1; }
    printf 'DELETING\nNONE\n' >queue
    cp left_node node
    ;;
  'tpu-vm describe')
    [[ -s node ]] || missing "$5"
    if [[ $format == *networkEndpoints* ]]; then echo 2; else cat node; fi
    ;;
  'tpu-vm delete') : >node ;;
  'tpu-vm scp') for home in homes/*; do cp "$5" "$home/${6#*:}"; done ;;
  'tpu-vm ssh') ssh ;;
esac
"""

# what the workers find there, writing down how they were called
NOTE = 'echo "$(basename "$0") $*" >>"$PLAY/worker_calls"\n'
WORKER = {
    "python3": NOTE + 'if [[ $* == *" venv "* ]]; then mkdir -p venv/bin && ln -s /bin/true venv/bin/python; fi',
    "sudo": '"$@"',
    "fuser": '[[ -s $PLAY/lock ]]  # a lock with something in it is held',
    "gcsfuse": NOTE + 'echo "${@: -2:1}" >"$HOME/mounted"',
    "mountpoint": '[[ -e $HOME/mounted ]]',
    "findmnt": 'cat "$HOME/mounted"',
}  # fmt: skip


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


class Play:
    """A project in a git checkout, a gcloud and a slice."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir()
        for name in SCRIPTS:
            (self.project / name).write_bytes((ROOT / name).read_bytes())
        (self.project / "train.py").write_text("print('training')\n")
        (self.project / ".gitignore").write_text("runs/\n*.env\n")
        (self.project / "runs").mkdir()
        (self.project / "runs" / "big").write_text("weights")
        subprocess.run(["git", "init", "-q", self.project], check=True)
        write_program(folder / "bin" / "gcloud", GCLOUD)
        for name, text in WORKER.items():
            write_program(folder / "worker" / name, text)
        self.set(queue=[], node=[], silent=["0"], next_queue=["ACTIVE"], left_node=[], broken=[])
        for worker in range(2):
            (folder / "homes" / str(worker)).mkdir(parents=True)
        self.environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "PLAY": str(folder), "TPU_POLL": "0.02",
            "TPU_NAME": "moral", "TPU_ZONE": "us-west4-a", "TMPDIR": str(folder),
        }  # fmt: skip

    def set(self, **files: list[str]) -> None:
        for name, lines in files.items():
            (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

    def command(self, *words: str) -> list[str]:
        return ["bash", str(self.project / "tpu_setup.sh"), *words]

    def call(self, *words: str, status: int = 0, **environment: str) -> str:
        """Calls the script; everything it said."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def calls(self, *wanted: str) -> list[list[str]]:
        """The calls of gcloud so far that hold all of these words."""
        path = self.folder / "calls"
        every = [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [words for words in every if all(any(want in word for word in words) for want in wanted)]

    def order(self, *wanted: str) -> list[str]:
        """Which of these came in what order, each repetition once: a call shows as the first that it holds."""
        found = [want for words in self.calls() for want in wanted if want in " ".join(words)]
        return [want for want, before in zip(found, [None, *found], strict=False) if want != before]

    def on_worker(self, path: str, worker: int = 0) -> Path:
        return self.folder / "homes" / str(worker) / path

    def worker_calls(self, program: str) -> list[str]:
        path = self.folder / "worker_calls"
        return [line for line in path.read_text().splitlines() if line.startswith(program)] if path.exists() else []


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    yield Play(tmp_path)
    for pid in tmp_path.glob("homes/*/tpu_job/jobs/*/pid"):  # what a failed test left running
        if not pid.with_name("exit").exists():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture
def ready(play: Play) -> Play:
    play.set(queue=["ACTIVE"], node=["READY"])
    return play


def path_without_gcloud(folder: Path) -> str:
    """A PATH of a few tools alone: the machine of the tests may have a gcloud."""
    tools = folder / "tools"
    tools.mkdir()
    for tool in ("bash", "cat", "date", "dirname", "grep", "mktemp", "rm", "tr"):
        (tools / tool).symlink_to(shutil.which(tool))
    return str(tools)


def wait_for(what: Callable[[], object]) -> None:
    for _ in range(500):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("waited 10 s in vain")


# create


def test_create_from_nothing(play: Play):
    play.set(next_queue=["NONE", "ACTIVE"])  # what was asked for takes a moment to show
    said = play.call("create", "--spot", "--project=p")
    (create,) = play.calls("queued-resources", "create")
    assert create[4:] == ["moral", "--node-id=moral", "--accelerator-type=v5litepod-16", "--spot",
                          "--runtime-version=v2-alpha-tpuv5-lite", "--zone=us-west4-a", "--project=p"]  # fmt: skip
    assert "ACTIVE READY" in said


def test_create_waits_for_what_is_on_its_way(play: Play):
    play.set(queue=["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"], node=["READY"])
    said = play.call("create")
    assert not play.calls("create")
    for state in ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE READY"):
        assert state in said


def test_create_has_an_end(play: Play):
    play.set(queue=["WAITING_FOR_RESOURCES"])
    assert "is WAITING_FOR_RESOURCES after 0 minutes" in play.call("create", "--timeout=0", status=1)


@pytest.mark.parametrize(
    ("queue", "node"), [(["SUSPENDING", "SUSPENDED"], []), (["FAILED"], []), (["ACTIVE"], ["PREEMPTED"])]
)
def test_create_deletes_a_preempted_slice_first(play: Play, queue: list[str], node: list[str]):
    play.set(queue=queue, node=node)
    play.call("create")
    assert play.order("queued-resources delete", "queued-resources create") == [
        "queued-resources delete",
        "queued-resources create",
    ]


def test_create_does_not_repeat_a_request_that_failed(play: Play):
    play.set(next_queue=["PROVISIONING", "FAILED"])
    assert "the request for v5litepod-16 in us-west4-a failed" in play.call("create", status=1)
    assert len(play.calls("queued-resources", "create")) == 1


def test_what_gcloud_refuses_is_not_taken_for_nothing(play: Play):
    play.set(queue=["DENIED"])
    assert "PERMISSION_DENIED" in play.call("create", status=1)
    assert not play.calls("queued-resources", "create")


def test_a_look_that_fails_does_not_end_the_wait(play: Play):
    play.set(queue=["PROVISIONING", "DENIED", "DENIED", "ACTIVE"], node=["READY"])
    assert "ACTIVE READY" in play.call("create")


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [("v4-32", "tpu-ubuntu2204-base"), ("v5p-16", "v2-alpha-tpuv5"), ("v6e-8", "v2-alpha-tpuv6e")],
)
def test_runtime_follows_the_type_and_a_flag_wins(play: Play, kind: str, runtime: str):
    said = play.call("create", "--dry-run", f"--type={kind}", TPU_TYPE="v2-8", TPU_RUNTIME="")
    assert f"--accelerator-type={kind} --runtime-version={runtime} " in said
    assert "--runtime-version=mine" in play.call("create", "--dry-run", f"--type={kind}", TPU_RUNTIME="mine")


# setup


def test_setup_brings_the_checkout_and_installs_once(ready: Play):
    assert "2 of 2 workers are ready" in ready.call("setup")
    for worker in range(2):
        source = ready.on_worker("tpu_job/source", worker)
        assert {p.name for p in source.iterdir()} == {*SCRIPTS, "train.py", ".gitignore"}
    assert [call.split()[2] for call in ready.worker_calls("python3")].count("uv") == 4  # an environment, a package
    assert not list(ready.folder.glob("tpu_job-*"))

    ready.call("setup")
    assert len(ready.calls("scp")) == 1
    assert len(ready.worker_calls("python3")) == 6

    (ready.project / "new.py").write_text("")
    ready.call("setup")
    assert ready.on_worker("tpu_job/source/new.py").exists()
    assert len([call for call in ready.worker_calls("python3") if " venv " in call]) == 2


def test_setup_counts_the_workers(ready: Play):
    ready.set(silent=["1"])
    assert "1 of 2 workers are reachable" in ready.call("setup", status=255)
    assert not ready.calls("scp")


def test_setup_mounts_the_bucket_once(ready: Play):
    for _ in range(2):
        ready.call("setup", "--bucket=gs://votes")
    mounts = ready.worker_calls("gcsfuse")
    assert len(mounts) == 2
    assert "--metadata-cache-ttl-secs=0" in mounts[0]
    assert "holds another bucket than other" in ready.call("setup", "--bucket=other", status=1)


@pytest.mark.parametrize("held", [True, False])
def test_setup_clears_a_stale_lock_only(ready: Play, held: bool):
    lock = ready.folder / "lock"
    lock.write_text("held" if held else "")
    ready.call("setup")
    assert lock.exists() == held


# run


def test_run_follows_every_worker_and_passes_words_on(ready: Play):
    said = ready.call("run", "--", "printf", "%s|", "it's", "$HOME", "a b")
    for worker in range(2):
        assert f"[{worker}] it's|$HOME|a b|" in said
        assert f"[{worker}] exit status 0" in said


def test_one_argument_is_a_line_for_the_workers_shell(ready: Play):
    said = ready.call("run", "--", "cat train.py; echo at $HOME; which python")
    assert "[1] print('training')" in said
    assert f"[1] at {ready.on_worker('', 1)}" in said
    assert f"[1] {ready.on_worker('tpu_job/venv/bin/python', 1)}" in said


def test_run_starts_again_after_a_preemption(ready: Play):
    ready.call("setup")
    ready.set(broken=["SUSPENDED"])
    said = ready.call("run", "--", "echo 'step' 7")
    steps = ["start", "queued-resources delete", "queued-resources create", "scp", "start"]
    assert ready.order(" start ", *steps[1:4]) == ["scp", " start ", *steps[1:4], " start "]
    assert "[0] step 7" in said
    assert "retry 1 of 10" in said


def test_run_passes_on_the_commands_own_failure(ready: Play):
    said = ready.call("run", "--", "echo $HOSTNAME >>$PLAY/ran; exit 3", status=3)
    assert "[0] exit status 3" in said
    assert not ready.calls("queued-resources", "create")
    assert (ready.folder / "ran").read_text().count("w-0") == 1


def test_run_gives_up(ready: Play):
    ready.set(broken=["SUSPENDED"] * 9)
    assert "gave up after 2 retries" in ready.call("run", "--retries=2", "--", "true", status=1)
    assert len(ready.calls(" start ")) == 3


def test_a_lost_connection_neither_ends_nor_doubles_the_command(ready: Play):
    ready.call("setup")
    ready.set(broken=["LOST"])
    said = ready.call("run", "--", "echo $HOSTNAME >>$PLAY/ran; sleep 0.5; echo done; exit 5", status=5)
    assert "[0] done" in said
    assert "[1] done" in said
    assert sorted((ready.folder / "ran").read_text().split()) == ["t1v-n-0a1b-w-0", "t1v-n-0a1b-w-1"]
    assert not ready.calls("queued-resources", "create")


def test_run_wants_a_slice(play: Play):
    assert "no slice moral in us-west4-a" in play.call("run", "--", "true", status=1)
    assert not play.calls("queued-resources", "create")


def test_what_runs_is_followed_shown_refused_and_stopped(ready: Play):
    line = "trap 'echo asked to stop; exit 9' INT; echo begun >>$PLAY/ran; for _ in {1..400}; do sleep 0.05; done"
    with subprocess.Popen(ready.command("run", "--", line), env=ready.environment, stdout=subprocess.PIPE) as first:
        wait_for(lambda: (ready.folder / "ran").exists() and (ready.folder / "ran").read_text().count("begun") == 2)
        first.kill()  # as if the machine at home were switched off

    assert f"running on 2: bash -c {line}" in ready.call("status")
    assert "another command runs" in ready.call("run", "--", "true", status=1)
    with subprocess.Popen(
        ready.command("run", "--", line), env=ready.environment, stdout=subprocess.PIPE, text=True
    ) as again:
        wait_for(lambda: len(ready.calls(" start ")) == 2)
        ready.call("stop")
        said = again.communicate(timeout=30)[0]
    assert again.returncode == 9
    assert "[1] asked to stop" in said
    assert (ready.folder / "ran").read_text().count("begun") == 2
    assert "no command runs" in ready.call("status")


def test_ctrl_c_stops_the_command(ready: Play):
    line = (
        "trap 'echo stopped >>$PLAY/ran; exit 130' INT; echo begun >>$PLAY/ran; for _ in {1..400}; do sleep 0.05; done"
    )
    terminal = subprocess.Popen(
        # where the tests run in the background, SIGINT is ignored, and a shell cannot undo that
        ["env", "--default-signal=INT", *ready.command("run", "--", line)],
        env=ready.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: (ready.folder / "ran").exists() and (ready.folder / "ran").read_text().count("begun") == 2)
    os.killpg(terminal.pid, signal.SIGINT)
    assert terminal.wait(30) == 130
    assert (ready.folder / "ran").read_text().count("stopped") == 2


# status and delete


def test_status_of_nothing(play: Play):
    assert "slice moral in us-west4-a: NONE" in play.call("status")


def test_delete_of_nothing(play: Play):
    assert "nothing to delete" in play.call("delete")
    assert not play.calls("delete")


def test_delete_asks_and_waits_until_both_are_gone(ready: Play):
    ready.set(left_node=["READY"])
    assert "not deleted" in ready.call("delete", status=1)
    assert not ready.calls("delete")
    assert "moral is deleted" in ready.call("delete", "--yes")
    assert ready.order("queued-resources delete", "tpu-vm delete") == ["queued-resources delete", "tpu-vm delete"]


def test_delete_lets_a_deletion_finish(play: Play):
    play.set(queue=["DELETING", "DELETING", "NONE"])
    assert "moral is deleted" in play.call("delete", "--yes")
    assert not play.calls("queued-resources", "delete")


# what is said without a slice


@pytest.mark.parametrize(
    "words", [("create",), ("setup", "--bucket=votes"), ("status",), ("stop",), ("run", "--", "echo it\\'s $HOME")]
)
def test_dry_run_prints_what_the_real_run_calls(play: Play, words: tuple[str, ...]):
    said = play.call(words[0], "--dry-run", *words[1:])
    assert not play.calls()
    lines = [line for line in said.splitlines() if line.startswith(("gcloud ", "git "))]
    if words[0] != "create":
        play.set(queue=["ACTIVE"], node=["READY"])
    play.call(*words)
    really = play.calls()
    (play.folder / "calls").unlink()
    play.set(queue=[] if words[0] == "create" else ["ACTIVE"])
    for line in lines:  # pasted, one by one
        subprocess.run(["bash", "-c", line], env=play.environment, capture_output=True, check=False)
    moment = str(int(time.time()))[:-2]
    assert [[w.partition(moment)[0] for w in words] for words in play.calls()] == [
        [w.partition(moment)[0] for w in words] for words in really
    ]


def test_dry_run_of_delete_and_without_gcloud(play: Play):
    said = play.call("delete", "--dry-run", PATH=path_without_gcloud(play.folder))
    assert "gcloud compute tpus queued-resources delete moral --force --quiet --zone=us-west4-a\n" in said
    assert not play.calls()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["create"], "--name"),
        (["create", "--name=moral"], "--zone"),
        (["create", "--zone", "us-west4-a"], "--zone: unknown option"),
        (["create", "--name=n", "--zone=z", "--type=v5e-16"], "--type=v5e-16"),
        (["create", "--name=n", "--zone=z", "--retries=often"], "--retries=often"),
        (["run", "--name=n", "--zone=z"], "-- COMMAND"),
        (["destroy"], "destroy"),
        ([], "expected create, setup, run"),
    ],
)
def test_mistakes_are_named(play: Play, words: list[str], named: str):
    assert named in play.call(*words, status=2, TPU_NAME="", TPU_ZONE="")
    assert not play.calls()


def test_help_teaches(play: Play):
    said = play.call("--help", TPU_NAME="", TPU_ZONE="")
    assert "./tpu_setup.sh create" in said
    assert "--env-file=FILE" in said


def test_without_gcloud_it_says_how_to_get_it(play: Play):
    assert "cloud.google.com/sdk" in play.call("status", status=1, PATH=path_without_gcloud(play.folder))


# secrets


def test_secrets_reach_the_command_and_nothing_else(ready: Play):
    variables = ready.project / "job.env"  # ignored by git here
    variables.write_text(f"# ours\nHF_TOKEN={SECRET} $(touch {ready.folder}/evaluated)\n")
    said = ready.call("run", f"--env-file={variables}", "--", "echo ${#HF_TOKEN} ${HF_TOKEN:0:3}")
    assert f"[0] {len(variables.read_text().split('=')[1]) - 1} hf_" in said
    everything = said + (ready.folder / "calls").read_text()
    everything += "".join(path.read_text() for path in ready.folder.glob("homes/*/tpu_job/jobs/*/*"))
    assert SECRET not in everything
    assert not (ready.folder / "evaluated").exists()
    assert ready.on_worker("tpu_job/env").stat().st_mode & 0o077 == 0
    assert ready.on_worker("tpu_job").stat().st_mode & 0o077 == 0
    assert not ready.on_worker("tpu_job/source/job.env").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"A=1\nexport HF_TOKEN={SECRET}\n", "line 2"),
        (f"HF_TOKEN='{SECRET}'\n", "line 1"),
        (f"{SECRET}\n", "line 1"),
        (f"A=1\nHF_TOKEN={SECRET}\r\n", "line 2: ends in a blank, or in the carriage return"),
        (f"HF_TOKEN={SECRET} \n", "line 1: ends in a blank"),
    ],
)
@pytest.mark.fault(
    "an env file with Windows line ends, quotes or no names",
    promise="refused by line, before a worker is asked; no value is said",
)
def test_a_faulty_env_file_is_named_by_line_alone(ready: Play, text: str, why: str):
    (ready.folder / "job.env").write_text(text)
    said = ready.call("setup", f"--env-file={ready.folder}/job.env", status=2)
    assert why in said
    assert SECRET not in said
    assert not ready.calls()


def test_numbers_with_a_leading_zero_are_decimal(ready: Play):
    assert "08" not in ready.call("status", "--timeout=08", "--retries=09", "--dry-run")
    for flag in ("--timeout=1234567", "--retries=x"):
        assert f"{flag}: expected" in ready.call("status", flag, status=2)


def test_an_env_file_must_not_travel_with_the_project(ready: Play):
    (ready.project / "secrets").write_text(f"HF_TOKEN={SECRET}\n")
    assert "would travel" in ready.call("setup", f"--env-file={ready.project}/secrets", status=2)
    assert not ready.calls()


def test_shell_scripts_are_clean():
    done = subprocess.run(["shellcheck", *SCRIPTS, ".ci/run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
