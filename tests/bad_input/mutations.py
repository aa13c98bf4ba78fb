"""Strategies of hypothesis that mutate valid inputs: bytes are lost, flipped, doubled or replaced by nonsense."""

from hypothesis import strategies as st

NONSENSE = (
    b"\0", b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x80" + b"\0" * 7, b"-1", b"1e999", b"NaN", b"9" * 5000, b"[" * 3000,
    b'{"a":' * 3000, b'"', b"\\ud800", b"null", b"\r", "\u202e".encode(), b"../", b"true", b"[]", b"{}", b'""',
)  # fmt: skip


@st.composite
def one(draw: st.DrawFn, data: bytes) -> bytes:
    """Truncates, flips a bit, splices, cuts, or inserts nonsense."""
    at, until = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    how = draw(st.sampled_from(["truncate", "flip", "splice", "cut", "insert", "replace"]))
    if how == "truncate":
        return data[:at]
    if how == "flip":
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :] if data else data
    if how == "splice":
        return data[:until] + data[at:]
    if how == "cut":
        return data[:at] + data[until:]
    word = draw(st.sampled_from(NONSENSE))
    return data[:at] + word + (data[at:] if how == "insert" else data[at + len(word) :])


@st.composite
def broken(draw: st.DrawFn, data: bytes) -> bytes:
    """Applies `one` one to four times."""
    for _ in range(draw(st.integers(1, 4))):
        data = draw(one(data))
    return data
