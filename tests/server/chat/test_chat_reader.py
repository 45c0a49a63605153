"""How an answer is read: text, usage and endings, however servers send them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncassist.errors import StreamError
from asyncassist.models import RunCompletionUsage
from asyncassist.server import BackendError, Reply
from asyncassist.server.backends.chat_reader import AnswerReader

from .helpers import DONE, HELLO, USAGE, calls, chunk, completion, data, entry, read, tokens, usage


def test_an_answer() -> None:
    """The pieces are the text; the reply has the usage and leaves the text out."""
    reader, texts = read(*HELLO)

    assert texts == ["Hel", "lo"]
    assert reader.is_whole
    assert reader.is_done
    assert reader.answer.reply(()) == Reply(usage=tokens(5, 3))


DEVIATIONS = {
    "comments and keep-alives": (b": ping\n\n", chunk("Hello"), b":\n\ndata:\n\n", chunk(finish="stop"), DONE),
    "no [DONE]": HELLO[:-1],
    "no usage": (chunk("Hello"), chunk(finish="stop"), DONE),
    "usage in every chunk": (
        data({"choices": [{"delta": {"content": "Hello"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        data({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}),
        DONE,
    ),
    "usage is null until the end": (
        data({"choices": [{"delta": {"content": "Hello"}}], "usage": None}),
        data({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}),
    ),
    "chunks without choices": (
        data({"choices": [], "prompt_filter_results": []}),
        data({"choices": None}),
        data({"id": "x"}),
        *HELLO,
    ),
    "null content, reasoning": (
        chunk(role="assistant", content=None, reasoning_content="Hm. "),
        chunk(reasoning="Let me think. ", content=""),
        *HELLO,
    ),
    "content in parts": (
        chunk(content=[{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}]),  # type: ignore[arg-type]
        chunk("lo", finish="stop"),
    ),
    "no finish reason": (chunk("Hello"), DONE),
    "the last event has no blank line": (chunk("Hello"), chunk(finish="stop").rstrip()),
    "[DONE] has no blank line": (chunk("Hello"), b"data: [DONE]"),
    "an event name, CR LF, a byte order mark": (
        b"\xef\xbb\xbf",
        b"event: message\r\n" + chunk("Hello").replace(b"\n", b"\r\n"),
        chunk(finish="stop"),
    ),
    "something behind [DONE]": (*HELLO, b"data: bye\n\n"),
    "several choices": (
        data({"choices": [{"index": 1, "delta": {"content": "No"}}, {"index": 0, "delta": {"content": "Hello"}}]}),
        chunk(finish="stop"),
    ),
    "the whole message again": (
        chunk("Hello"),
        data({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}),
    ),
    "a refusal": (chunk(refusal="Hel"), chunk(refusal="lo"), chunk(finish="stop")),
    "no stream": (json.dumps(completion()).encode(),),
    "no stream, spaces before it": (b" \r\n", b'\n{"choices": [{"message": ', b'{"content": "Hello"}}]}'),
    "no finish reason behind the finish reason": (chunk("Hello", finish="stop"), chunk(""), b""),
    "unknown finish reason": (chunk("Hello", finish="eos"),),
}


@pytest.mark.parametrize("events", DEVIATIONS.values(), ids=DEVIATIONS)
def test_deviations(events: tuple[bytes, ...]) -> None:
    """However a server says hello, it is read as that."""
    reader, texts = read(*events)

    assert "".join(texts) == "Hello"
    assert reader.is_whole
    assert reader.answer.reply(()).stopped_by is None


@pytest.mark.parametrize(
    "sent, expected",
    [
        ({}, tokens(5, 3)),
        ({"prompt_tokens": 5, "completion_tokens": 3}, tokens(5, 3)),
        (
            {"prompt_tokens": 5.0, "total_tokens": 9},
            RunCompletionUsage(prompt_tokens=5, completion_tokens=0, total_tokens=9),
        ),
        ({"prompt_tokens": None, "completion_tokens": -1, "total_tokens": "many"}, tokens(0, 0)),
    ],
)
def test_usage(sent: Any, expected: RunCompletionUsage) -> None:
    """The usage is the server's, as far as it makes sense; a missing total is the sum."""
    reader, _ = read(chunk("Hello", finish="stop"), usage(**sent))

    assert reader.answer.reply(()).usage == expected


def test_no_usage() -> None:
    """Where the server says nothing about tokens, none are counted."""
    reader, _ = read(chunk("Hello", finish="stop"))

    assert reader.answer.reply(()).usage == tokens(0, 0)


# Endings.


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length"])
def test_cut_short(reason: str) -> None:
    """An answer that ran into its limit says so, and asks for no calls, whose end is missing."""
    reader, texts = read(chunk("Hel"), calls(entry("weather", '{"ci', index=0)), chunk(finish=reason), usage())

    assert texts == ["Hel"]
    assert reader.answer.reply(()) == Reply(usage=tokens(5, 3), stopped_by="max_completion_tokens")


def test_filtered() -> None:
    """An answer stopped by the content filter fails with the code that is not tried again."""
    reader, _ = read(chunk("Hel"), chunk(finish="content_filter"))

    with pytest.raises(BackendError, match="content filter stopped the answer") as caught:
        reader.answer.reply(())
    assert caught.value.code == "invalid_prompt"


def test_failed_model() -> None:
    """An answer whose model broke down is none."""
    reader, _ = read(chunk("Hel"), chunk(finish="error"))

    with pytest.raises(StreamError, match="failed in the middle"):
        reader.answer.reply(())


@pytest.mark.parametrize(
    "events",
    [
        (),
        (b"\n\n",),
        (b": ping\n\n",),
        (DONE,),
        (usage(), DONE),
        (chunk("Hello"),),
        (chunk("Hello"), chunk(finish="stop")[:-10]),
        (chunk("Hello"), b"data: \xc3"),
        HELLO[:-3],
    ],
)
def test_incomplete(events: tuple[bytes, ...]) -> None:
    """An answer without an end, or without a beginning, is not whole."""
    reader, _ = read(*events)

    assert not reader.is_whole


@pytest.mark.parametrize("text", ["\n\n", " \t"])
def test_blank_starts_are_held_back(text: str) -> None:
    """White space goes out only together with what follows it: before calls, or alone, it is no text."""
    assert read(chunk(text), chunk("\n"), chunk("Hi"), chunk(" "), chunk(finish="stop"))[1] == [f"{text}\nHi", " "]
    reader, texts = read(chunk(text), calls(entry("now", "{}", index=0), finish="tool_calls"))
    assert texts == []
    assert not reader.answer.has_text
    assert len(reader.answer.reply(()).tool_calls) == 1


# Errors.


SLOW_DOWN = {"message": "Slow down", "type": "rate_limit_error", "code": 429}


@pytest.mark.parametrize(
    "event, message, code, type_",
    [
        (data({"error": SLOW_DOWN}), "Slow down", "429", "rate_limit_error"),
        (b'event: error\ndata: {"message": "Broken", "code": "oops"}\n\n', "Broken", "oops", None),
        (b'event: error\ndata: {"error": "Broken"}\n\n', "Broken", None, None),
        (b'data: {"error": {"message": "Late"}}', "Late", None, None),
        (data({"object": "error", "message": "Old vLLM", "code": 40301}), "Old vLLM", "40301", None),
        (b'{"error": {"type": "server_error"}}', "the model server reports an error", None, "server_error"),
    ],
)
def test_errors_in_the_answer(event: bytes, message: str, code: str | None, type_: str | None) -> None:
    """An error in the middle of an answer is one, with its facts, whatever form it has."""
    with pytest.raises(StreamError) as caught:
        read(b"" if event.startswith(b"{") else chunk("Hel"), event)

    assert (caught.value.message, caught.value.code, caught.value.type) == (message, code, type_)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"<html>Bad gateway</html>", "HTML"),
        (b"data: <oops>\n\n", "no chat completion"),
        (b"data: [1]\n\n", "no chat completion"),
        (b"data: null\n\n", "no chat completion"),
        (b'{"choices": [', "no chat completion"),
        (b'[{"error": "x"}]', "no chat completion"),
        (b"event: error\ndata: null\n\n", "reports an error"),
    ],
)
def test_no_answer(data: bytes, message: str) -> None:
    """What is no chat completion is refused, in words that say what it is."""
    with pytest.raises(StreamError, match=message):
        read(data)


@pytest.mark.parametrize("bom", [b"\xef\xbb\xbf", b""])
def test_a_document_letter_by_letter(bom: bytes) -> None:
    """What an answer is shows in its first letter, even where a byte order mark comes in pieces before it."""
    letters = [bytes([letter]) for letter in bom + json.dumps(completion()).encode()]

    assert read(*letters)[1] == ["Hello"]


def test_limits() -> None:
    """An answer that is not streamed, and an event, may have so many bytes."""
    for start in (b"{", b"data: "):
        reader = AnswerReader(limit=1000)
        with pytest.raises(StreamError, match="more than 1000 bytes"):
            for _ in range(10):
                list(reader.feed(start + b" " * 200))


# Chunking.

ANSWERS = [
    HELLO,
    (b"\xef\xbb\xbf: hi\r\n\r\n", chunk("Gr\u00fc\u00dfe \U0001f30c"), chunk(finish="length"), usage(), DONE),
    (
        chunk("\n"),
        calls(entry("weather", "", index=0, id="call_1")),
        calls(entry(None, '{"city": "Z\u00fcrich"}', index=0), entry("now", "{}", index=1)),
        chunk(finish="stop"),
        DONE,
    ),
    (json.dumps(completion("Hello")).encode(),),
    (b"\xef\xbb\xbf\n", json.dumps(completion("Hello")).encode()),
]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 600)), st.booleans())
def test_any_chunking_gives_the_same_reply(events: tuple[bytes, ...], cuts: list[int], with_cr: bool) -> None:
    """Wherever the bytes are cut, text and reply are the same."""
    whole = b"".join(events)
    expected, texts = read(whole)
    if with_cr and b"data:" in whole:
        whole = whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    reader, same_texts = read(*(whole[start:end] for start, end in pairwise(places)))

    assert "".join(texts) == "".join(same_texts)
    assert reader.answer.reply(()) == expected.answer.reply(())


@given(st.sampled_from(ANSWERS[:3]), st.integers(0, 600))
def test_any_cut_is_noticed(events: tuple[bytes, ...], length: int) -> None:
    """However many bytes come, an answer counts as whole only when it has its end."""
    whole = b"".join(events)
    end = whole.index(b'"finish_reason": "')
    reader, _ = read(whole[: min(length, end)])

    assert not reader.is_whole
