"""The command line: what every command says of itself, soon, and what becomes of old names, respondents and faults."""

import argparse
import contextlib
import errno
import importlib
import io
import json
import os
import re
import subprocess
import sys

import pytest

import moral_jax
from moral_jax.cli import errors, legacy, main, shared
from moral_jax.cli.main import COMMANDS
from moral_jax.config import Config, saved
from moral_jax.config.respondent import RespondentConfig
from moral_jax.types import Preempted, StorageError, UserError
from tests.helpers import quick

SAYS_WHAT_IT_IMPORTED = """
import sys
from moral_jax.cli import main
try:
    code = main.main(sys.argv[1:])
except SystemExit as e:
    code = e.code
print("exit code", code, "imported", sorted({"jax", "transformers", "sklearn", "httpx2"} & set(sys.modules)))
"""


def started(*arguments):
    """A command in a process of its own, which prints last its exit code and what it imported."""
    command = [sys.executable, "-c", SAYS_WHAT_IT_IMPORTED, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | quick.PROCESS, timeout=60)


def ended(*arguments):
    """The exit code of a command line that argparse ends."""
    with pytest.raises(SystemExit) as end:
        main.main(list(arguments))
    return end.value.code


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_explains_itself_without_waiting_for_a_library(command):
    done = started(command, "--help")
    assert done.stderr == ""
    assert done.stdout.endswith("\nexit code 0 imported []\n")
    assert done.stdout.startswith(f"usage: moral-jax {command} ")
    assert "show this help message and exit" in done.stdout


def test_a_mistake_is_named_without_waiting_for_a_library():
    done = started("eval", "--model=scripted:uniform", "--config.optim.lrr=1")
    assert done.stderr == "error: --config.optim.lrr: no such field; did you mean --config.optim.lr?\n"
    assert done.stdout == "exit code 2 imported []\n"


def test_help_lists_every_command(capsys):
    assert ended("--help") == 0
    said = capsys.readouterr().out
    for name, command in main.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}$", said, re.M)


def test_version(capsys):
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"moral-jax {moral_jax.__version__}\n"


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("evl", "evl: no such command; did you mean eval?"),
        ("studdy", "studdy: no such command; did you mean study?"),
        (
            "xyzzy",
            f"xyzzy: no such command; there are {', '.join(COMMANDS)}",
        ),
    ],
)
def test_an_unknown_command_is_met_with_the_nearest(command, hint, capsys):
    assert ended(command, "--help") == 2
    assert capsys.readouterr().err.endswith(f"error: {hint}\n")


def test_no_command_is_a_mistake(capsys):
    assert ended() == 2
    assert "required: COMMAND" in capsys.readouterr().err


def test_flags_of_a_command_are_not_abbreviated(capsys):
    assert main.main(["eval", "--mod=scripted:uniform", "--config=demo"]) == 2
    assert "--mod=scripted:uniform: unknown argument" in capsys.readouterr().err


def test_train_py_is_the_command_train(capsys):
    with pytest.raises(SystemExit) as end:
        main.train_main(["--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: train.py --config=FILE ")


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (
            ["baseline", "prior", "--config=demo"],
            ["eval", "--model=baseline:prior", "--config=demo"],
            "baseline is moral-jax eval --model=baseline:NAME",
        ),
        (
            ["baseline", "--config=demo"],
            ["eval", "--model=baseline:", "--config=demo"],
            "baseline is moral-jax eval --model=baseline:NAME",
        ),
        (["baseline"], ["eval", "--model=baseline:"], "baseline is moral-jax eval --model=baseline:NAME"),
        (["baseline", "--help"], ["eval", "--help"], "baseline is moral-jax eval --model=baseline:NAME"),
        (
            ["api", "--api-model=gpt-4o", "--config=demo", "--yes"],
            ["eval", "--api-model=gpt-4o", "--config=demo", "--yes"],
            "api is moral-jax eval --model=api:NAME",
        ),
    ],
)
def test_a_command_of_version_0_1_is_translated_and_noted(old, new, note, capsys):
    assert legacy.translate(old) == new
    said = capsys.readouterr()
    assert said.err == f"note: moral-jax {note} now\n"
    assert said.out == ""


def test_every_old_command_is_tested_here_and_none_is_a_new_one():
    assert set(legacy.OLD) == {"baseline", "api"}
    assert not set(legacy.OLD) & set(main.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["eval", "api"], ["--version"], ["ask", "report"]])
def test_other_commands_are_left_as_they_are(arguments, capsys):
    assert legacy.translate(arguments) == arguments
    assert capsys.readouterr().err == ""


def test_an_old_command_without_its_name_is_told_what_is_missing(capsys):
    assert main.main(["baseline", "--config=demo"]) == 2
    assert "config.respondent.name='': expected the name of the baseline respondent" in capsys.readouterr().err


def who(*flags):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    shared.add_model(parser)
    return shared.who_answers(*parser.parse_known_args(list(flags)))


@pytest.mark.parametrize(
    ("flags", "respondent"),
    [
        (["--model=scripted:uniform"], RespondentConfig("scripted", "uniform")),
        (["--model=baseline:fewest_words"], RespondentConfig("baseline", "fewest_words")),
        (["--model=api:org/gpt-4o:2024"], RespondentConfig("api", "org/gpt-4o:2024")),
        (["--api-model=gpt-4o"], RespondentConfig("api", "gpt-4o")),
        (
            ["--model=api:m", "--base-url=http://host/v1", "--endpoint=completions", "--top-logprobs=5"],
            RespondentConfig("api", "m", base_url="http://host/v1", endpoint="completions", top_logprobs=5),
        ),
        (
            ["--model=api:m", "--api-key-env=KEY", "--concurrency=3", "--timeout=1.5", "--retries=0"],
            RespondentConfig("api", "m", api_key_env="KEY", concurrency=3, timeout=1.5, retries=0),
        ),
        (
            ["--config.respondent.kind=scripted", "--config.respondent.name=last", "--config=demo"],
            RespondentConfig("scripted", "last"),
        ),
    ],
)
def test_who_answers_where_no_weights_are_here(flags, respondent):
    config, run = who(*flags)
    assert config.respondent == respondent
    assert config.model == Config().model
    assert run is None


@pytest.mark.parametrize("path", ["OWNER/MODEL@abc", "/a/folder", "C:/folder", "x.gguf", "package:name/file.gguf"])
def test_a_model_of_any_other_name_is_a_path(path):
    config, run = who(f"--model={path}", "--config=demo")
    assert (config.model.path, config.respondent, config.task.name) == (path, RespondentConfig(), "synthetic")
    assert run is None


def test_a_config_alone_names_its_own_model():
    config, run = who("--config=demo", "--config.model.path=mine")
    assert (config.model.path, config.respondent.kind, run) == ("mine", "local", None)


@pytest.mark.parametrize("flag", ["--model=run:", "--run="])
def test_a_run_brings_its_own_config(flag, tmp_path):
    saved.save(Config(respondent=RespondentConfig("scripted", "last")), tmp_path / "config.json")
    config, run = who(f"{flag}{tmp_path}")
    assert config.respondent == RespondentConfig("scripted", "last")
    assert run == tmp_path
    for more in ("--config=demo", "--config.optim.lr=1"):
        said = more.removeprefix("--config=")
        with pytest.raises(UserError, match=f"^{said}: a run brings its own config; only --model=PATH takes one"):
            who(f"{flag}{tmp_path}", more)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nobody is named to answer: pass --model=PATH, run:DIR, api:NAME, baseline:NAME or scripted:NAME"),
        (["--model=run:/no/where"], r"/no/where: holds no run \(no config.json\)"),
        (["--model=api:"], "config.respondent.name='': expected the name of the api respondent"),
        (["--model=scripted:"], "config.respondent.name='': expected the name of the scripted respondent"),
        (["--model=a/b", "--timeout=5"], "config.respondent.timeout=5.0: expected 60.0, because .* asks no API"),
        (
            ["--model=scripted:last", "--retries=0"],
            "config.respondent.retries=0: expected 6, because config.respondent.kind is 'scripted', which asks no API",
        ),
        (
            ["--model=api:m", "--endpoint=chatty"],
            "config.respondent.endpoint='chatty': expected 'chat' or 'completions'",
        ),
        (["--model=api:m", "--concurrency=0"], "config.respondent.concurrency=0: expected at least 1"),
        (["--model=api:m", "--top-logprobs=many"], "--config.respondent.top_logprobs=many: expected int"),
        (["--model=api:m", "--timeout=inf"], "config.respondent.timeout=inf: expected a finite number"),
        (["--model=a/b", "--loud"], "--loud: unknown argument"),
    ],
)
def test_mistakes_about_who_answers_are_named(flags, message):
    with pytest.raises(UserError, match=f"^{message}"):
        who(*flags)


@pytest.mark.parametrize("flag", ["--base-url=http://localhost:1", "--timeout=5"])
def test_a_run_asks_no_api(flag):
    with pytest.raises(UserError, match=f"^{flag.partition('=')[0]}: a run brings its own config"):
        who("--run=somewhere", flag)


def test_a_model_and_a_run_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        who("--model=a/b", "--run=r")
    assert "not allowed with argument" in capsys.readouterr().err


def test_what_an_api_may_cost_is_passed_on_and_checked():
    parser = argparse.ArgumentParser()
    shared.add_model(parser)
    given = parser.parse_args(["--price-in=2.5", "--price-out=10", "--max-cost=0", "--yes"])
    assert shared.budget(given) == (2.5, 10, 0, True)
    assert shared.budget(parser.parse_args([])) == (None, None, None, False)
    with pytest.raises(UserError, match="--max-cost=-1: expected a finite number"):
        shared.budget(parser.parse_args(["--max-cost=-1"]))


@pytest.mark.parametrize("flag", ["--config.prompt.system=Be kind.", "--prety=a b"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_with_a_blank_is_no_file(command, flag, monkeypatch):
    """argparse takes it for one, and what it says would be lost."""
    seen = []
    module = importlib.import_module(f"moral_jax.cli.{COMMANDS[command].module}")
    monkeypatch.setattr(module, "run", lambda args, rest: seen.append((vars(args), rest)))
    with contextlib.suppress(SystemExit):  # where a file is needed
        main.main([command, flag])
    for values, rest in seen:
        assert rest == [flag]
        assert flag not in map(str, values.values())


def test_settings_with_blanks_reach_the_data(tmp_path, capsys):
    row = {"action description": "He left.", "question": "Guilty?", "options": ["yes", "no"], "counts": [1, 2]}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(10)))
    settings = [f"--config.task.path={tmp_path}/rows.jsonl", "--config.task.fields.text={action description} Why?"]
    assert main.main(["data", "--config.task.name=votes", *settings, "--no-prompts", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["train"] > 0


def test_a_sentence_may_look_like_a_flag_after_two_dashes(monkeypatch):
    seen = []
    monkeypatch.setattr("moral_jax.cli.ask.run", lambda args, rest: seen.append((args.file, rest)))
    main.main(["ask", "--task=kaleido", "--model=scripted:uniform", "--", "--config.seed=5 is a setting"])
    assert [file for file, _ in seen] == ["--config.seed=5 is a setting"]


def test_a_command_refuses_what_it_does_not_know(capsys):
    assert main.main(["report", "somewhere", "--pretty"]) == 2
    assert capsys.readouterr().err == "error: --pretty: unknown argument\n"


@pytest.fixture
def hooks(monkeypatch):
    """What `guarded` sets for the whole process is put back."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)


def ends_with(error):
    def command():
        raise error

    return errors.guarded(command)


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("rows.jsonl:3: no votes; add some"), 2, "error: rows.jsonl:3: no votes; add some"),
        (StorageError("/d: full"), 74, "error: /d: full"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d/f"),
            74,
            "error: /d/f: No space left on device. No existing file was changed. Free some space, then run the same "
            "command to resume",
        ),
        (
            OSError(errno.EIO, "Input/output error"),
            74,
            "error: a file of the run: Input/output error. No existing file was changed. Check the system log for disk "
            "errors, then run the same command to resume",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/d/f"),
            2,
            "error: /d/f: No such file or directory; name another, or correct it",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/d/f"),
            2,
            "error: /d/f: Permission denied; name another, or correct it",
        ),
        (MemoryError("8 GiB"), 2, "error: not enough memory (8 GiB); lower config.data.length or batch sizes"),
        (Preempted("saved at step 7"), 143, "saved at step 7"),
        (KeyboardInterrupt(), 130, "stopped; the same command resumes a run from its last checkpoint"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_ends_a_command_becomes_an_exit_code_and_one_message(error, code, said, capsys):
    assert ends_with(error) == code
    assert capsys.readouterr().err == said + "\n"


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.ECONNRESET, "Connection reset by peer")])
def test_a_fault_of_ours_is_not_hidden(error):
    with pytest.raises(type(error)) as raised:
        ends_with(error)
    assert raised.value is error


@pytest.mark.usefixtures("hooks")
def test_a_command_says_its_own_exit_code():
    assert [errors.guarded(lambda code=code: code) for code in (None, 0, 1, 3)] == [0, 0, 1, 3]


@pytest.mark.usefixtures("hooks")
def test_the_traceback_of_a_fault_holds_no_key(monkeypatch, capsys):
    monkeypatch.setenv("SOME_API_KEY", "sk-123456789")
    with pytest.raises(ValueError, match="sk-") as raised:
        ends_with(ValueError("the key sk-123456789 was refused"))
    sys.excepthook(ValueError, raised.value, raised.value.__traceback__)
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "the key [$SOME_API_KEY] was refused" in said
    assert "123456789" not in said


def test_json_is_answers_alone_escaped_where_the_output_needs_it(tmp_path, monkeypatch):
    """In the output; what is said besides, and a question that a terminal cannot show, do not stop it."""
    (tmp_path / "q.txt").write_text("Which? \u4e00 \u00e9 | a | b\n", encoding="utf-8")
    for encoding, shown in (("utf-8", "\u4e00 \u00e9"), ("ascii", r"\u4e00 \u00e9")):
        out = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", out)
        assert main.main(["ask", "--model=scripted:uniform", "--json", str(tmp_path / "q.txt")]) == 0
        out.flush()
        said = out.buffer.getvalue().decode(encoding)
        assert shown in said
        assert json.loads(said)["question"] == "Which? \u4e00 \u00e9"


def test_bars_are_of_what_the_output_knows(tmp_path, monkeypatch):
    (tmp_path / "q.txt").write_text("Which? | a | b\n")
    for encoding, mark in (("utf-8", "\u2588"), ("latin-1", "#")):
        out = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", out)
        assert main.main(["ask", "--model=scripted:uniform", str(tmp_path / "q.txt")]) == 0
        out.flush()
        assert out.buffer.getvalue().decode(encoding).count(mark) == 30
