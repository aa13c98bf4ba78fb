"""From a config to divided rows.

`load` finds the file of each split (`_sources`) and reads it. Splits without a file are divided from the rows of
`path`; training rows that share a key, or the whole question, with a row of a file of its own are dropped.
`train_share` and `limit` then keep the rows of lowest hash. The result records where the rows come from, and what was
left out.
"""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from moral_jax.config.task import TaskConfig
from moral_jax.runtime import console
from moral_jax.tasks import archive, registry, sets
from moral_jax.tasks.reading import FileRows, read
from moral_jax.tasks.registry import Task
from moral_jax.tasks.splits import Split, divide, lowest
from moral_jax.tasks.stored import brief, take
from moral_jax.types import Example, UserError

SHARED_KEY = "rows dropped, as they share a key with another split"
BAD = "bad rows dropped"


class Dataset(NamedTuple):
    """Rows divided into splits, and their provenance."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    provenance: dict[str, Any]  # JSON

    @property
    def sides(self) -> dict[str, Sequence[Example]]:
        """All splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def scored(self) -> dict[str, Sequence[Example]]:
        """The splits to score, without empty ones."""
        return {split: rows for split, rows in (("validation", self.validation), ("test", self.test)) if rows}

    @property
    def voted(self) -> Sequence[Example]:
        """The training rows that people voted on; in a mixture texts stand beside them."""
        places = [i for i, example in enumerate(brief(self.train)) if len(example.options) > 1]
        return self.train if len(places) == len(self.train) else take(self.train, places)


def _sources(task: Task, config: TaskConfig) -> tuple[dict[str, str | None], dict[str, str] | None]:
    """Returns the file of each split (None if there is none), and the hashes of the archive if one was downloaded."""
    given = {"train": config.path, "validation": config.validation_path, "test": config.test_path}
    if config.path is None and task.released is not None:
        files, hashes = archive.fetch(task.released)
        released = {"train": files["train"], "validation": files["dev"], "test": files["test"]}
        return {split: given[split] or str(path) for split, path in released.items()}, hashes
    if not config.path and task.built_in is None:
        raise UserError(
            f"config.task.path is not set, and task {config.name!r} has no built-in rows; pass --config.task.path=FILE"
        )
    return given, None


def question_of(example: Example) -> tuple:
    """Returns all that a prompt shows of a row: two rows with the same are one question asked twice."""
    turns = tuple((turn["role"], turn["content"]) for turn in example.messages)
    return (example.question, example.title, example.text, example.options, turns)


def _apart(examples: Sequence[Example], others: list[Example]) -> tuple[Sequence[Example], int]:
    """Returns the examples that share no key and no question with `others`, and how many do."""
    keys, asked = {key for e in others for key in e.keys}, {question_of(e) for e in others}
    free = [i for i, e in enumerate(examples) if not keys.intersection(e.keys) and question_of(e) not in asked]
    return (examples if len(free) == len(examples) else take(examples, free)), len(examples) - len(free)


def _divided(examples: Sequence[Example], own: dict[str, FileRows], config: TaskConfig) -> Split:
    """Divides the rows of `path` beside the splits that have a file of their own."""
    others = [example for rows in own.values() for example in rows.examples]
    free, overlap = _apart(examples, others) if own else (examples, 0)
    if overlap:
        console.info(
            f"{overlap} of {len(examples)} training rows share a key or the question with rows of other files; dropped"
        )
    if not free:
        raise UserError(f"{config.path}: each of its rows is also in {config.test_path or config.validation_path}")
    validation = 0.0 if "validation" in own or config.test_only else config.validation
    test = 1.0 if config.test_only else 0.0 if "test" in own else config.test
    split = divide(free, validation, test, config.split_seed)
    return split._replace(**{s: rows.examples for s, rows in own.items()}, dropped=split.dropped + overlap)


def load(config: TaskConfig) -> Dataset:
    """Reads the rows and divides them into splits.

    A split with its own file is used as it is; the others are shares of the rows in `path`.

    Raises:
      UserError: the task is unknown, a file is missing, rows are bad (the message names file, line, field, value found
        and value expected), or a download failed.
    """
    data = _mixed(config) if config.sources else _of_one(config)
    if config.majority:
        data = data._replace(train=[e._replace(counts=of_majority(e.counts)) for e in data.train])
    return data


def of_majority(counts: tuple[float, ...]) -> tuple[float, ...]:
    """Returns all votes on the option that has most of them; options that tie for most share them."""
    most = [c == max(counts) for c in counts]
    return tuple(sum(counts) / sum(most) if is_most else 0.0 for is_most in most)


def _of_one(config: TaskConfig) -> Dataset:
    """Returns the rows of one data set."""
    task = registry.get(config.name)
    if config.test_only:
        console.info(f"test only: nothing is trained on these rows (licence: {config.licence or task.licence})")
    paths, archived = _sources(task, config)
    own = {s: read(p, config) for s, p in paths.items() if p and s != "train"}
    if paths["train"]:
        main = read(paths["train"], config)
    else:
        assert task.built_in is not None, "_sources refuses a task without rows"
        main = FileRows(task.built_in(), {})
    split = _divided(main.examples, own, config)
    splits = {"train": split.train, "validation": split.validation, "test": split.test}
    if config.train_share < 1:
        count = max(1, round(config.train_share * len(splits["train"])))
        splits["train"] = lowest(splits["train"], count, config.split_seed)
    if config.limit is not None:
        splits = {s: lowest(e, config.limit, config.split_seed) for s, e in splits.items()}
    about = provenance(config, [main, *own.values()], {s: len(e) for s, e in splits.items()})
    about |= {"files": {s: p for s, p in paths.items() if p}, SHARED_KEY: split.dropped}
    about["sets"] = [sets.of_file(config, paths["train"], main, [s for s, e in splits.items() if e and s not in own])]
    about["sets"] += [sets.of_file(config, paths[s], file, [s]) for s, file in own.items()]
    return Dataset(**splits, provenance=about | ({"sha256": archived} if archived else {}))


def trained_sources(config: TaskConfig) -> list[str]:
    """Returns the names of the sources of a mixture that are trained on, in their order."""
    names = [source.name for source in config.sources if not source.task.test_only]
    if config.train_on is None:
        return names
    chosen = config.train_on.removeprefix("-").split("|")
    return [name for name in names if (name in chosen) != config.train_on.startswith("-")]


def _named(examples: Sequence[Example], source: str) -> list[Example]:
    """Returns a source's examples under names that no other source has, as a group of their own."""
    return [
        e._replace(
            id=f"{source}: {e.id}",
            keys=tuple(f"{source}: {key}" for key in e.keys),
            groups={"source": source} | {f"{source}: {name}": value for name, value in e.groups.items()},
            source=source,
        )
        for e in examples
    ]


def _mixed(config: TaskConfig) -> Dataset:
    """Returns the rows of all sources: training and validation rows of those trained on, test rows of all."""
    trained, of_source = trained_sources(config), {}
    if config.train_on is not None and not trained:
        raise UserError(f"config.task.train_on={config.train_on!r}: no source is left to train on")
    sides: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for source in config.sources:
        kind = registry.get(source.task.name).kind
        if kind not in ("votes", "texts"):
            raise UserError(
                f"config.task.sources: {source.name!r} is of {kind}; a mixture is of questions with votes, and of "
                f"texts beside them. Put all rows of {kind} into one folder or file, with a column that "
                f"config.task.fields.group names"
            )
        data = load(source.task)
        of_source[source.name] = data
        for side, rows in (("train", data.train), ("validation", data.validation), ("test", data.test)):
            is_shown = side == "train" or kind == "votes"  # what is held out of texts has no options to choose from
            if is_shown and (side == "test" or source.name in trained):
                sides[side] += _named(rows, source.name)
    if all(registry.get(source.task.name).kind == "texts" for source in config.sources):
        raise UserError("config.task.sources: are all of texts; put their rows into one folder, for task 'texts'")
    about = [data.provenance for data in of_source.values()]
    task = registry.get(config.name)
    files = {f"{n}: {s}": p for n, data in of_source.items() for s, p in data.provenance["files"].items()}
    return Dataset(
        **sides,
        provenance={
            "task": config.name,
            "description": f"{task.description}: {', '.join(of_source)}; trained on {', '.join(trained) or 'none'}",
            "citation": "; ".join(dict.fromkeys(one["citation"] for one in about)),
            "licence": "; ".join(dict.fromkeys(one["licence"] for one in about)),
            "files": files,
            "sha256": dict(collections.ChainMap(*(one["sha256"] for one in about))),
            "rows": {side: len(rows) for side, rows in sides.items()},
            BAD: sum(one[BAD] for one in about),
            SHARED_KEY: sum(one[SHARED_KEY] for one in about),
            "sources": {name: data.provenance for name, data in of_source.items()},
            "sets": sets.of_mixture({n: data.provenance["sets"] for n, data in of_source.items()}, trained),
        },
    )


def of_one_file(path: str, config: TaskConfig) -> tuple[dict[str, Sequence[Example]], dict[str, Any]]:
    """Returns all rows of a file as the split "rows", and their provenance; raises as `read`."""
    file = read(path, config)
    about = provenance(config, [file], {"rows": len(file.examples)}) | {"files": {"rows": path}}
    return {"rows": file.examples}, about | {"sets": [sets.of_file(config, path, file, ["rows"])]}


def provenance(config: TaskConfig, files: Sequence[FileRows], rows: dict[str, int]) -> dict[str, Any]:
    """Returns the JSON record of where a run's rows come from: task, citation, licence, hashes and counts."""
    task = registry.get(config.name)
    return {
        "task": config.name,
        "description": task.description,
        "citation": "; ".join(dict.fromkeys(sets.citation_of(config, file) for file in files)),
        "licence": ", ".join(dict.fromkeys(sets.licence_of(config, file) for file in files)),
        "files": {},
        "sha256": dict(collections.ChainMap(*(file.hashes for file in files))),
        "rows": rows,
        BAD: sum(file.bad for file in files),
    }
