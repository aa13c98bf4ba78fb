"""What a run's numbers come from: the SHA-256 of files and prompts. A run goes on with what it began with. No jax.

`provenance.json` is the file. Its sections of hashes:

data.sha256            files of rows, by path
model.sha256           files of weights, by name; and the checkpoints of runs before, RUN/checkpoints/STEP
model.settings_sha256  the model's config and its tokenizer's files, by name; the checkpoint that answers
prompts_sha256         all that is asked, as token ids and votes, by split

`trained` is the step that a finished run stands for, its SHA-256, and the tokens that made it. The rest says on what it
was computed. Where that changes, the start is added to the list `resumed`.
"""

from pathlib import Path
from typing import Any

from moral_jax.runtime import files, strict_json
from moral_jax.runtime.console import info
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

PROVENANCE = "provenance.json"
SECTIONS = ("data.sha256", "model.sha256", "model.settings_sha256", "prompts_sha256")
MACHINE = ("versions", "arithmetic", "device")  # on what numbers were computed
Provenance = dict[str, Any]
NOT_BEGUN: Provenance = {}
Hashes = dict[str, dict[str, str]]  # by section; a section that was not recorded is not there


def read(folder: Path) -> Provenance:
    """Returns what a run began with; nothing if it has not begun.

    Raises:
      UserError: the file is not what a run writes.
    """
    path = folder / PROVENANCE
    if not path.exists():
        return {}
    try:
        began = strict_json.read(path)
        hashes_of(began)
        for start in [began, *began.get("resumed", [])]:
            if not all(isinstance(start.get(part, {}), dict) for part in MACHINE):
                raise UserError(f"expected objects for {', '.join(MACHINE)}")
        return began
    except (UserError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: is not what a run writes ({e}); remove it to go on without its hashes") from e


def hashes_of(provenance: Provenance) -> Hashes:
    """Returns the hashes of a provenance by section; older runs recorded data and weights alone."""
    model = provenance["model"]
    found = {
        "data.sha256": provenance["data"]["sha256"],
        "model.sha256": model.get("sha256"),
        "model.settings_sha256": model.get("settings_sha256"),
        "prompts_sha256": provenance.get("prompts_sha256"),
    }
    for section, hashes in found.items():
        if hashes is not None and not isinstance(hashes, dict):
            raise UserError(f"{section} is {shown(hashes)}, expected an object of hashes")
    return {section: dict(hashes) for section, hashes in found.items() if hashes is not None}


def changed(began: Hashes, now: Hashes, sections: tuple[str, ...] = SECTIONS) -> tuple[str, str, str] | None:
    """Returns the first name whose hash differs, in words what it was and what it is; None where all agree.

    Sections that were not recorded are not compared.
    """
    for section in sections:
        if section not in began:
            continue
        mine, theirs = now.get(section, {}), began[section]
        for name in {**theirs, **mine}:
            if mine.get(name) != theirs.get(name):
                what = f"the prompts of {name}" if section == "prompts_sha256" else name
                return what, theirs.get(name, "none, as it was not there"), mine.get(name, "none, as it is not there")
    return None


def check(
    folder: Path, now: Provenance, sections: tuple[str, ...] = SECTIONS, remedy: str = "pass --workdir=ANOTHER"
) -> None:
    """Refuses other files or prompts than a run began with.

    Args:
      folder: of the run.
      now: what there is now.
      sections: which are compared.
      remedy: completes "put back what it was, or ...".

    Raises:
      UserError: names the first that differs, and both hashes.
    """
    began = read(folder)
    if not began or not (found := changed(hashes_of(began), hashes_of(now), sections)):
        return
    name, was, is_now = found
    libraries = "; ".join(_differences({"versions": began.get("versions", {})}, {"versions": now.get("versions", {})}))
    cause = f" (since then: {libraries})" if libraries and name.startswith("the prompts") else ""
    raise UserError(
        f"{name}: no longer what {folder} began with: the SHA-256 was {was}, and is {is_now} now{cause}. Put back what "
        f"it was, or {remedy} to begin anew"
    )


def record(folder: Path, now: Provenance) -> None:
    """Writes `provenance.json`. Of a run that goes on elsewhere it keeps both machines, and says so in a line.

    Raises:
      UserError: a file or a prompt is not what the run began with.
    """
    check(folder, now)
    if began := read(folder):
        starts = [began, *began.get("resumed", [])]
        if differences := _differences(starts[-1], now):
            info(f"{folder}: goes on with another {'; '.join(differences)}; {PROVENANCE} keeps both")
            starts.append({part: now.get(part, {}) for part in MACHINE})
        now = now | {part: began[part] for part in MACHINE if part in began} | {"resumed": starts[1:]}
    files.write_json(folder / PROVENANCE, now)


def _differences(began: Provenance, now: Provenance) -> list[str]:
    """Returns in words what differs between two machines; what was not recorded is left out."""
    return [
        f"{'device ' if part == 'device' else ''}{name} ({value} -> {now.get(part, {}).get(name)})"
        for part in MACHINE
        for name, value in began.get(part, {}).items()
        if now.get(part, {}).get(name) != value
    ]
