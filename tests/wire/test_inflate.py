"""Undoing a Content-Encoding in bounded steps."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncassist._wire.inflate import BodyReader
from asyncassist.errors import DecodeError, shown

steady = settings(derandomize=True, deadline=None, max_examples=150, database=None)
LIMIT = 1_000_000
EMPTY_GZIP = gzip.compress(b"", mtime=0)

contents = st.binary(max_size=300) | st.builds(
    lambda unit, times: unit * times, st.binary(min_size=1, max_size=5), st.integers(1, 60_000)
)
cuts = st.lists(st.integers(0, 400), max_size=5)


def bare(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(data) + squeeze.flush()


PACKERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "identity": bytes,
    "": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    " X-GZip ": lambda data: gzip.compress(data, mtime=0),
    "GZIP": lambda data: gzip.compress(data[:10], mtime=0) + b"\0\0\0" + gzip.compress(data[10:], mtime=0) + b"\0",
    "deflate": zlib.compress,
    "Deflate": bare,
}
packed = st.builds(
    lambda encoding, data: (encoding, PACKERS[encoding](data), data), st.sampled_from(list(PACKERS)), contents
)


def pieces(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """Cut data at some places; a cut at both ends or twice at one place makes an empty piece."""
    start = 0
    for place in [*sorted(places), len(data)]:
        yield data[start:place]
        start = max(start, place)


def read(
    encoding: str | None, chunks: Iterable[bytes], *, limit: int = LIMIT, truncate: bool = False
) -> bytes | DecodeError:
    reader = BodyReader(encoding, limit=limit, truncate=truncate)
    try:
        for chunk in chunks:
            reader.feed(chunk)
        return reader.finish()
    except DecodeError as error:
        return error


@given(packed, cuts)
@example((None, b"", b""), [])
@example(("gzip", b"", b""), [])
@example(("deflate", b"", b""), [0, 0])
@example(("GZIP", EMPTY_GZIP * 3, b""), [1, 21, 39])
@steady
def test_a_body_is_read_whole_in_any_chunking(body: tuple[str | None, bytes, bytes], places: list[int]) -> None:
    """Plain, gzip in one or several members, deflate with and without zlib's header: all that went in comes out."""
    encoding, data, content = body

    assert read(encoding, pieces(data, places)) == content
    assert read(encoding, [data[i : i + 1] for i in range(len(data))]) == content


@given(packed.filter(lambda body: body[1] != body[2]), st.floats(0, 1, exclude_max=True), cuts)
@steady
def test_a_body_cut_short_is_noticed(body: tuple[str, bytes, bytes], share: float, places: list[int]) -> None:
    """Anything less than the whole is a DecodeError, unless nothing of weight is missing."""
    encoding, data, content = body
    data = data[: int(len(data) * share)]
    result = read(encoding, pieces(data, places))

    if not data:
        assert result == b""
    elif encoding == "GZIP" and isinstance(result, bytes):
        assert content.startswith(result)
        assert gzip.decompress(data) == result  # whole members came
    else:
        assert isinstance(result, DecodeError)
        assert "ends early" in str(result)


@given(packed, st.binary(min_size=1, max_size=40), cuts)
@steady
def test_what_follows_a_body(body: tuple[str | None, bytes, bytes], rest: bytes, places: list[int]) -> None:
    """After gzip's end zeros are padding and anything else must be gzip again; after deflate's end nothing counts."""
    encoding, data, content = body
    result = read(encoding, pieces(data + rest, places))

    if data == content:
        assert result == content + rest
    elif str(encoding).lower() == "deflate":
        assert result == content
    else:
        try:
            expected = gzip.decompress(data + rest)
        except (OSError, EOFError):
            assert isinstance(result, DecodeError)
        else:
            assert result == expected


starts = st.sampled_from(
    [b"", b"x", b"\x78", b"\x78\x9c", b"\x18", b"\x08\x1d", b"\x1f", b"\x1f\x8b\x08", b"\x4b\x04\x00"]
)


@given(
    st.sampled_from([None, "gzip", "deflate"]),
    st.builds(lambda start, rest: start + rest, starts, st.binary(max_size=60)),
    cuts,
)
@example("deflate", b"\x78\x00", [1])
@example("gzip", EMPTY_GZIP + b"\x00\x00" + EMPTY_GZIP, [20])
@steady
def test_any_bytes_read_the_same_in_any_chunking(encoding: str | None, data: bytes, places: list[int]) -> None:
    """Garbage is a DecodeError however it arrives."""
    whole = read(encoding, [data])
    in_pieces = read(encoding, pieces(data, places))

    assert isinstance(whole, bytes | DecodeError)
    assert str(in_pieces) == str(whole)


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("gzip", b"<html>", "not valid gzip"),
        ("gzip", EMPTY_GZIP + b"garbage", "not valid gzip"),
        ("gzip", gzip.compress(b"abc")[:-4] + b"\x00\x00\x00\x00", "not valid gzip"),
        ("x-gzip", b"<html>", "not valid x-gzip"),
        ("deflate", b"\xff\xff\xff", "not valid deflate"),
        ("deflate", zlib.compress(b"abc")[:-1] + b"\x00", "not valid deflate"),
        ("gzip", b"\x1f", "ends early"),
        ("deflate", b"\x78", "ends early"),
        ("deflate", zlib.compress(b"abc")[:-1], "ends early"),
    ],
)
def test_broken_compression_is_named(encoding: str, data: bytes, message: str) -> None:
    """The error says which compression and what is wrong with it."""
    result = read(encoding, [data])

    assert isinstance(result, DecodeError)
    assert message in str(result)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "x" * 10_000, "\x00"], ids=shown)
def test_an_encoding_nobody_asked_for_is_refused(encoding: str) -> None:
    """At once, with its name, shortly."""
    with pytest.raises(DecodeError, match="gzip, deflate was asked for") as caught:
        BodyReader(encoding, limit=LIMIT)

    assert encoding[:3] in str(caught.value) or not encoding.isprintable()
    assert len(str(caught.value)) < 200


# --- limits


@given(packed, st.integers(0, 400), cuts)
@steady
def test_the_limit_is_exact(body: tuple[str | None, bytes, bytes], limit: int, places: list[int]) -> None:
    """A body up to the limit is read; a byte more is a DecodeError, or is cut off where that was asked for."""
    encoding, data, content = body
    result = read(encoding, pieces(data, places), limit=limit)

    if len(content) <= limit:
        assert result == content
    else:
        assert isinstance(result, DecodeError)
        assert f"larger than {limit} bytes" in str(result)
    assert read(encoding, pieces(data, places), limit=limit, truncate=True) == content[:limit]


def test_a_quoted_body_may_end_early_and_go_on() -> None:
    """With ``truncate`` what came is kept; what is missing is not complained about, what is too much not looked at."""
    data = gzip.compress(b"abcdef" * 100)

    assert read("gzip", [data[:-8]], truncate=True) == b"abcdef" * 100
    assert read("gzip", [data, b"garbage", b"more"], limit=6, truncate=True) == b"abcdef"
    assert read(None, [b"ab", b"cd", b"ef"], limit=3, truncate=True) == b"abc"


def test_a_reader_says_when_it_is_full() -> None:
    """So that the rest of an error's body need not be received."""
    reader = BodyReader(None, limit=3, truncate=True)
    seen: list[bool] = []
    for chunk in (b"ab", b"cd"):
        reader.feed(chunk)
        seen.append(reader.is_full)

    assert seen == [False, True]
    assert not BodyReader(None, limit=0).is_full


def peak_of(encoding: str | None, chunks: Iterable[bytes], *, limit: int, truncate: bool) -> tuple[object, int]:
    tracemalloc.start()
    try:
        result = read(encoding, chunks, limit=limit, truncate=truncate)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_takes_no_more_than_the_limit(encoding: str, truncate: bool) -> None:
    """A body that would inflate to 50 MB costs the limit and a few steps."""
    bomb = PACKERS[encoding](bytes(50_000_000))
    result, peak = peak_of(encoding, [bomb], limit=LIMIT, truncate=truncate)

    assert len(bomb) < 60_000
    assert result == bytes(LIMIT) if truncate else isinstance(result, DecodeError)
    assert peak < LIMIT * 1.5 + 300_000


def test_a_body_in_tiny_pieces_takes_no_more_than_a_whole_one() -> None:
    """A server that sends two bytes at a time does not fill the memory with pieces."""
    data = bytes(range(256)) * 800
    result, peak = peak_of(None, (data[i : i + 2] for i in range(0, len(data), 2)), limit=len(data), truncate=False)

    assert result == data
    assert peak < len(data) * 2


def test_many_members_in_one_chunk_are_read_in_proportionate_time() -> None:
    """A million bytes of empty gzip members are read in about a second, not in minutes."""
    data = EMPTY_GZIP * 50_000
    started = time.process_time()

    assert read("gzip", [data]) == b""
    assert time.process_time() - started < 6
