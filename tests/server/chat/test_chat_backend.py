"""The chat backend and a model server, over real sockets: what is sent and what comes back."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from typing import Any

import anyio
import httpx
import pytest
from transport.helpers import until
from transport.loopback import Behaviour, Loopback, answer, hang, raw

from asyncassist import NO_KEY, UsageError
from asyncassist.models import AssistantToolsCode
from asyncassist.server import ChatCompletionsBackend, FunctionCall, Reply
from asyncassist.server.backends import chat

from .helpers import (
    DONE,
    HELLO,
    KEY,
    ask,
    backend_of,
    calls,
    chunk,
    completion,
    cut,
    endless,
    entry,
    round_of,
    run_of,
    said,
    streaming,
    tokens,
    turn_of,
    usage,
)

pytestmark = pytest.mark.anyio

# Answers.


async def test_a_streamed_answer(server: Loopback) -> None:
    """Text is emitted piece by piece as it comes, and the reply has the rest."""
    server.default = streaming(*HELLO)
    backend = backend_of(server, model_map={"gpt-4o": "small"})
    turn, spoken = turn_of()

    reply = await backend.answer(turn)
    await backend.aclose()

    assert (["Hel", "lo"], Reply(usage=tokens(5, 3))) == (spoken, reply)
    assert server.requests[0].target == "/v1/chat/completions"
    assert server.requests[0].json["model"] == "small"
    assert server.requests[0].json["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_connection_serves_many_answers(server: Loopback) -> None:
    """Behind a whole answer the connection is used again."""
    server.default = streaming(*HELLO)
    backend = backend_of(server)

    for _ in range(3):
        await backend.answer(turn_of()[0])
    await backend.aclose()

    assert (3, 1) == (len(server.requests), server.opened)


async def test_tool_rounds(server: Loopback) -> None:
    """Calls are asked for; asked again, the model gets their outputs, and its new calls have ids of their own."""
    server.default = streaming(calls(entry("weather", "{}", index=0, id="call_0"), finish="tool_calls"), usage(), DONE)
    backend = backend_of(server)
    turn, spoken = turn_of(rounds=[round_of(("call_0", "{}", "18"))])

    reply = await backend.answer(turn)
    await backend.aclose()

    assert spoken == []
    assert reply == Reply(usage=tokens(5, 3), tool_calls=(FunctionCall("weather", "{}"),))
    assert [message["role"] for message in server.requests[0].json["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(completion()),
        answer(b"\n" + HELLO[1] + HELLO[2] + DONE, headers={"content-type": "text/plain"}),
        raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(HELLO)),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_servers_that_do_not_do_as_asked(server: Loopback, behaviour: Behaviour, stream: bool) -> None:
    """An answer is read for what it is, whether it was to be streamed or not, and whatever its type says."""
    server.default = behaviour

    assert (await ask(backend_of(server, stream=stream)))[1] == "Hello"
    assert server.requests[0].json["stream"] is stream


@pytest.mark.parametrize("ending", [streaming(*HELLO[:-2], ended=False), cut(*HELLO[:-2]), endless(*HELLO[:-2])])
async def test_an_answer_is_whole_when_its_reason_to_end_has_come(
    server: Loopback, ending: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens to the connection behind the last piece does no harm; usage is waited for, but not for ever."""
    monkeypatch.setattr(chat, "_LAST_WORD_SECONDS", 0.05)
    server.default = ending

    reply, text = await ask(backend_of(server))

    assert ("Hello", tokens(0, 0)) == (text, reply.usage)
    assert len(server.requests) == 1


async def test_keep_alives_behind_the_end_are_not_listened_to_for_ever(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that goes on with comments behind its answer is left after a while."""
    monkeypatch.setattr(chat, "_LAST_WORD_SECONDS", 0.05)
    server.default = streaming(*HELLO[:4], *[b": still here\n\n"] * 200_000)

    with anyio.fail_after(5):
        assert (await ask(backend_of(server)))[1] == "Hello"


async def test_text_behind_the_end_is_not_lost(server: Loopback) -> None:
    """Some servers give their reason to end together with, or before, their last words."""
    server.default = streaming(chunk("Hel", finish="stop"), chunk("lo"), DONE)

    assert (await ask(backend_of(server)))[1] == "Hello"


# What is sent.


async def test_key_headers_and_query(server: Loopback) -> None:
    """The key, headers and query parameters go along; a function gives a key to each request."""
    keys = iter(["key-one", "key-two"])
    server.default = streaming(*HELLO)
    backend = backend_of(
        server, api_key=lambda: next(keys), default_headers={"x-team": "a"}, default_query={"api-version": "1"}
    )

    for _ in range(2):
        await backend.answer(turn_of()[0])
    await backend.aclose()

    sent = [(request.header("authorization"), request.header("x-team"), request.target) for request in server.requests]
    target = "/v1/chat/completions?api-version=1"
    assert sent == [("Bearer key-one", "a", target), ("Bearer key-two", "a", target)]


@pytest.mark.parametrize("key", [None, NO_KEY])
async def test_no_key(server: Loopback, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key none is sent, whatever the environment has for other servers."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.default = streaming(*HELLO)

    await ask(backend_of(server, api_key=key))

    assert server.requests[0].header("authorization") is None


@pytest.mark.parametrize(
    "model_map, sent",
    [
        (None, "gpt-4o"),
        ({"*": "any"}, "any"),
        ({"gpt-4o": "mine", "*": "any"}, "mine"),
        ({"gpt-5": "mine"}, "gpt-4o"),
        (str.upper, "GPT-4O"),
    ],
)
async def test_model_map(server: Loopback, model_map: Any, sent: str) -> None:
    """A run's model is the server's by name, by the star, by a function, or as it is."""
    server.default = streaming(*HELLO)

    await ask(backend_of(server, model_map=model_map))

    assert server.requests[0].json["model"] == sent


async def test_tools_nobody_runs(server: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    """Tools that are left out are told to the log, once for each assistant."""
    server.default = streaming(*HELLO)
    backend = backend_of(server)
    for assistant_id in ("asst_1", "asst_1", "asst_2"):
        await backend.answer(turn_of(run_of(assistant_id=assistant_id, tools=(AssistantToolsCode(),)))[0])
    await backend.aclose()

    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "assistant asst_1 has the tool code_interpreter, which is left out here",
        "assistant asst_2 has the tool code_interpreter, which is left out here",
    ]
    assert "tools" not in server.requests[0].json


# Cancelling, closing.


@pytest.mark.parametrize("behaviour", [hang, endless(), endless(chunk("Hel"))])
@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling(server: Loopback, behaviour: Behaviour, stream: bool) -> None:
    """A cancelled turn closes its connection at once, wherever it is."""
    server.default = behaviour
    backend = backend_of(server, stream=stream)
    async with anyio.create_task_group() as group:
        group.start_soon(backend.answer, turn_of()[0])
        await until(lambda: server.requests)
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()

    await until(lambda: server.open_now == 0)
    await backend.aclose()


async def test_few_connections(server: Loopback) -> None:
    """No more runs are asked about at once than there may be connections; the others wait."""
    server.default = streaming(*HELLO)
    backend = backend_of(server, max_connections=2)
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(backend.answer, turn_of()[0])
    await backend.aclose()

    assert (10, 2) == (len(server.requests), server.most_open)


async def test_a_transport_of_the_callers() -> None:
    """A caller's transport carries the requests."""

    def handle(request: httpx.Request) -> httpx.Response:
        assert "http://nowhere/v1/chat/completions" == request.url
        return httpx.Response(200, json=completion())

    backend = ChatCompletionsBackend("http://nowhere/v1", transport=httpx.MockTransport(handle))

    assert (await ask(backend))[1] == "Hello"


async def test_closed_and_asked_again(server: Loopback) -> None:
    """A closed backend holds nothing, can be closed again, and opens new connections when it is asked again."""
    server.default = streaming(*HELLO)
    backend = backend_of(server)

    for _ in range(2):
        await backend.answer(turn_of()[0])
        await backend.aclose()
        await backend.aclose()
        await until(lambda: server.open_now == 0)

    assert server.opened == 2


# Settings.


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"base_url": None}, "base_url must be a str"),
        ({"base_url": "localhost:11434"}, "must start with http"),
        ({"api_key": ""}, "the API key is empty"),
        ({"api_key": 5}, "api_key must be"),
        ({"model_map": "small"}, "model_map must be a mapping, a function or None, got str"),
        ({"model_map": {"a": None}}, "must name models by str"),
        ({"timeout": -1}, "total must be a number of seconds"),
        ({"retry": 3}, "retry must be a RetryPolicy"),
        ({"max_connections": 0}, "from 1 to 65536"),
        ({"stream": "yes"}, "stream must be True or False, got 'yes'"),
        ({"limit_field": "tokens"}, "limit_field must be 'max_completion_tokens' or 'max_tokens', got 'tokens'"),
        ({"instructions_role": "user"}, "instructions_role must be 'system' or 'developer', got 'user'"),
        ({"extra_body": ["top_k"]}, "extra_body must be a mapping"),
        ({"default_headers": {"a": "\n"}}, "printable ASCII"),
        ({"default_query": []}, "a query must be a mapping"),
    ],
)
def test_settings_that_cannot_be_used(settings: Any, message: str) -> None:
    """A value that cannot be used is refused when the backend is made."""
    with pytest.raises(UsageError, match=message):
        ChatCompletionsBackend(**{"base_url": "http://localhost/v1", **settings})


def test_repr() -> None:
    """A backend shows where it asks, and no key; one that was never made shows itself too."""
    assert repr(ChatCompletionsBackend("http://localhost/v1/", api_key=KEY)) == (
        "<ChatCompletionsBackend http://localhost/v1>"
    )
    assert repr(object.__new__(ChatCompletionsBackend)) == "<ChatCompletionsBackend >"


async def test_messages_and_images_arrive(server: Loopback) -> None:
    """The turn's messages are what is sent."""
    server.default = streaming(*HELLO)
    backend = backend_of(server, extra_body={"top_k": 3, "stream_options": None})
    turn, _ = turn_of(run_of(instructions="Be brief."), [said("One"), said("Two", "assistant")])
    await backend.answer(turn)
    await backend.aclose()

    assert server.requests[0].json == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "Two"},
        ],
        "stream": True,
        "top_k": 3,
    }
