"""What a run has used, under which licences, and what these ask of whoever publishes its weights.

RUN/licences.json   what `moral-jax licences` found, and what a person has accepted by name
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config import Config
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runs.results import FILES, QUESTIONNAIRE, RUN, STUDY, Results
from moral_jax.runtime import files, strict_json
from moral_jax.runtime.strict_json import shown
from moral_jax.tasks import declared, licences
from moral_jax.tasks.licences import Licence
from moral_jax.types import UserError
from moral_jax.weights import licence as of_weights
from moral_jax.workflows.tally import ABOUT

LICENCES = "licences.json"
TRAIN, TEST, MODEL, REWARD = "train", "test", "base model", "reward model"
BINDING = (TRAIN, MODEL, REWARD)  # what a checkpoint is made of
TRAINS = {"train", "validation"}  # splits that decide what the weights are: validation rows choose the step
RUN_PREFIX = "run:"


class Used(NamedTuple):
    """A set of rows, or a model, that a run has used."""

    name: str
    use: str  # TRAIN, TEST, MODEL or REWARD
    licence: Licence | None  # None: none is recorded
    where: str  # file and field that say so, or should
    source: str = ""
    citation: str = ""
    version: str = ""
    personal_data: bool | None = None  # None: nobody has said
    collected: str = ""

    @property
    def known(self) -> Licence:
        """The licence; unknown where none is recorded."""
        return self.licence or licences.recorded("")


def _of_set(one: dict[str, Any], use: str, where: str, data: Path | None) -> Used:
    """Returns a set of rows as a run has recorded it, or as a data.toml declares it afterwards."""
    text = one.get("licence") or ""
    if not isinstance(text, str):
        raise UserError(f"{where}: licence: found {shown(text)}, expected a text")
    declared_in = one.get("where")
    if data:
        said = declared.read(data, one["name"])
        if use == TRAIN and said.use != TRAIN:
            raise UserError(f"{said.where}: use: found {said.use!r}, but the run was trained on {one['name']}")
        one, text, declared_in = one | said._asdict() | {"name": one["name"]}, said.licence, said.where
    licence = (_parsed(text, f"{declared_in}: licence") if declared_in else licences.recorded(text)) if text else None
    kept = {key: one[key] for key in ("source", "citation", "version", "personal_data", "collected") if one.get(key)
            is not None}  # fmt: skip
    return Used(one["name"], use, licence, declared_in or where, **kept)


def _parsed(text: str, where: str) -> Licence:
    try:
        return licences.parse(text)
    except UserError as e:
        raise UserError(f"{where}: {e}") from None


def _sets(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the sets of a provenance; one with all splits in runs that recorded none."""
    if "sets" in data:
        return data["sets"]
    splits = [name for name, rows in data.get("rows", {}).items() if rows] or [TRAIN]  # where nothing is known
    name = data.get("task", "rows")
    known = {key: "" if "own" in data.get(key, "") else data.get(key, "") for key in ("licence", "citation")}
    return [{"name": name, "splits": splits, "source": ", ".join(data.get("files", {}).values())} | known]


def _of_run(folder: Path, data: Path | None, base_licence: str | None) -> list[Used]:
    run, config, began = RunDirectory(folder), read_config(folder), origin.read(folder)
    where = str(folder / origin.PROVENANCE)
    out = []
    for i, one in enumerate(_sets(began.get("data", {}))):
        use = TRAIN if run.is_trained and TRAINS & set(one["splits"]) else TEST
        out.append(_of_set(one, use, f"{where}: data.sets.{i}.licence", data))
    if config.respondent.kind != "local":
        if base_licence:
            raise UserError(f"--base-licence={base_licence}: no local model answered in {folder}")
        return out
    return [*out, *_models(config, began.get("model", {}), where, base_licence, run.is_trained)]


def _models(
    config: Config, model: dict[str, Any], where: str, base_licence: str | None, is_trained: bool
) -> list[Used]:
    """Returns the models that a run was made of."""
    name = config.model.path
    if base_licence:
        licence: Licence | None = _parsed(base_licence, f"--base-licence={base_licence}")
    else:
        said = model.get("licence") or of_weights.of_model(name)
        licence = licences.recorded(said) if said else None
    out = [Used(name, MODEL, licence, f"{where}: model.licence", source=name, version=model.get("revision") or "")]
    if config.adapter.path:
        said = of_weights.of_files(Path(config.adapter.path))
        out.append(Used(config.adapter.path, MODEL, licences.recorded(said) if said else None,
                        f"{config.adapter.path}/README.md: license", source=config.adapter.path))  # fmt: skip
    for part in config.rollout.reward.split(" | ") if is_trained else ():
        reward = part.split("*")[-1].strip()  # without its weight
        if reward.startswith(RUN_PREFIX):
            out += _of_reward(reward.removeprefix(RUN_PREFIX))
    return out


def _of_reward(name: str) -> list[Used]:
    """Returns what a reward model was made of."""
    if not (Path(name) / origin.PROVENANCE).exists():
        return [Used(name, REWARD, None, f"{name}/{origin.PROVENANCE}: data.sets")]
    return [one._replace(name=f"{name}: {one.name}", use=REWARD) for one in _of_run(Path(name), None, None)
            if one.use in BINDING]  # fmt: skip


def _of_questionnaire(folder: Path, data: Path | None) -> list[Used]:
    about = strict_json.read(folder / ABOUT) if (folder / ABOUT).exists() else {}
    one = {
        "name": about.get("task") or folder.resolve().name,
        "licence": about.get("licence") or "",
        "source": about.get("paper") or "",
        "citation": about.get("attribution") or "",
    }
    return [_of_set(one, TEST, f"{folder / ABOUT}: licence", data)]


def _of_study(results: Results, data: Path | None) -> list[Used]:
    where = results.folder / FILES[STUDY]
    out = []
    for i, task in enumerate(results.file(FILES[STUDY])["tasks"]):
        about = task.get("about", {})
        [one] = _sets(about | {"task": task["name"]})
        out.append(_of_set(one, TRAIN, f"{where}: tasks.{i}.about.licence", data))
    return out


def collect(results: Results, data: Path | None = None, base_licence: str | None = None) -> list[Used]:
    """Returns what a directory of results was made with.

    Args:
      data: a data.toml that speaks for the rows in place of what was recorded.
      base_licence: of the model, in place of what was recorded.

    Raises:
      UserError: a licence that is declared is no SPDX expression; or the run was trained on what is declared for tests.
    """
    if results.kind == RUN:
        return _of_run(results.folder, data, base_licence)
    if base_licence:
        raise UserError(f"--base-licence={base_licence}: is of a run's model; {results.folder} is a {results.kind}")
    return _of_questionnaire(results.folder, data) if results.kind == QUESTIONNAIRE else _of_study(results, data)


def demand(used: Sequence[Used]) -> None:
    """Raises UserError if a set or a model has no licence; names it, file and field."""
    for one in used:
        if one.licence is None:
            remedy = "pass --base-licence=EXPRESSION" if one.use == MODEL else (
                "declare it in a data.toml (docs/cards.md) and pass --data=FILE"
            )  # fmt: skip
            raise UserError(
                f"{one.where}: no licence is recorded for {one.name}; {remedy}; NOASSERTION says that nobody knows"
            )


def binding(used: Sequence[Used]) -> list[Used]:
    """Returns what the weights of a run are made of."""
    return [one for one in used if one.use in BINDING]


def obligations(used: Sequence[Used]) -> dict[str, list[str]]:
    """Returns what the licences ask of a checkpoint, each with the sets and models that ask it."""
    bind = binding(used)
    asked = {name: [one.name for one in bind if name in one.known.obligations] for name in licences.CLASSES}
    return {name: of for name, of in asked.items() if of}


def forbidding(used: Sequence[Used]) -> list[Used]:
    """Returns the sets and models for which publishing needs a person's word."""
    return [one for one in binding(used) if one.known.forbidding]


def accepted(folder: Path) -> dict[str, str]:
    """Returns the licences that a person has accepted, by name: they hold as long as the licence is the same."""
    path = folder / LICENCES
    found = strict_json.read(path).get("accepted", {}) if path.exists() else {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise UserError(f"{path}: accepted: found {shown(found)}, expected names with their licences")
    return found


def left(used: Sequence[Used], by_name: dict[str, str]) -> list[Used]:
    """Returns those that forbid publishing and were not accepted."""
    return [one for one in forbidding(used) if by_name.get(one.name) != one.known.said]


def accept(folder: Path, used: Sequence[Used], names: Sequence[str]) -> dict[str, str]:
    """Notes what a person accepts, and what was found, in licences.json; returns all that is accepted.

    Raises:
      UserError: a name is of nothing that forbids publishing.
    """
    known = {one.name: one for one in forbidding(used)}
    for name in names:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "nothing forbids publishing"
            raise UserError(f"--accept={name}: forbids nothing here; {there}")
    by_name = accepted(folder) | {name: known[name].known.said for name in names}
    sets = [{"name": o.name, "use": o.use, "licence": o.known.said, "classes": sorted(o.known.classes)} for o in used]
    files.write_json(folder / LICENCES, {"used": sets, "obligations": obligations(used), "accepted": by_name})
    return by_name
