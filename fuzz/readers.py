"""The readers of strangers' files, under a fuzzer that is led by coverage.

    pip install atheris                      (Linux, CPython 3.11 to 3.13)
    python -m fuzz.readers gguf -max_total_time=60
    python -m fuzz.readers safetensors -max_total_time=60

What follows the reader's name goes to libFuzzer. Whatever is not a UserError ends it, with the input in a file
`crash-...`; so does an input that takes ten seconds or 2 GiB. What is found this way becomes a case of tests/bad_input.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["moral_jax", "gguf"]):
    from moral_jax.models.families import from_hf
    from moral_jax.types import UserError
    from moral_jax.weights import gguf, gguf_config, hf

from tests.bad_input import test_gguf
from tests.weights import by_hand

LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=8192"]


def read_gguf(folder: Path) -> None:
    file = gguf.GgufFile(folder / "model")
    for name in file.names():
        file.read(name, (slice(None),) * len(file.shape(name)))
    from_hf(gguf_config.hf_config(file))


def read_safetensors(folder: Path) -> None:
    file = hf.SafetensorsFolder(folder)
    for name in file.names():
        file.read(name, (slice(None),) * len(file.shape(name)))


def good_gguf() -> bytes:
    return test_gguf.llama()


def good_safetensors() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        by_hand.write(Path(folder) / "x", by_hand.header({"a": ("F32", (2, 3)), "b": ("BF16", (4,))}), 32)
        return (Path(folder) / "x").read_bytes()


READERS: dict[str, tuple[str, Callable[[Path], None], Callable[[], bytes]]] = {
    "gguf": ("model", read_gguf, good_gguf),
    "safetensors": (hf.SINGLE, read_safetensors, good_safetensors),
}


def main(reader: str, *flags: str) -> None:
    """Never returns: libFuzzer ends the process."""
    file, read, good = READERS[reader]
    folder = Path(tempfile.mkdtemp(prefix="moral_jax_fuzz_"))
    (folder / "corpus").mkdir()
    (folder / "corpus" / "good").write_bytes(good())

    def one(data: bytes) -> None:
        (folder / file).write_bytes(data)
        with contextlib.suppress(UserError):
            read(folder)

    one(good())
    atheris.Setup([sys.argv[0], *LIMITS, *flags, str(folder / "corpus")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
