"""Calls of users that must type, and calls that must not: an ignore that is not needed is an error too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import assert_never, assert_type

import attrs
import httpx

from asyncassist import (
    NO_KEY,
    Assistant,
    AsyncClient,
    Listing,
    Message,
    Page,
    PollPolicy,
    RateLimitError,
    RawResponse,
    Reply,
    RetryPolicy,
    Run,
    RunFailedError,
    Thread,
    Timeout,
    TurnStream,
    from_dict,
    to_dict,
)
from asyncassist.models import (
    AssistantToolsCode,
    AssistantToolsFunction,
    MessageAttachment,
    MessageContentImageFile,
    MessageContentImageUrl,
    MessageContentRefusal,
    MessageContentText,
    Truncation,
    UnknownMessageContent,
)


async def token() -> str:
    """Return a key, as a token provider does."""
    return "key"


def clients() -> list[AsyncClient]:
    """Make clients in every documented way."""
    return [
        AsyncClient(),
        AsyncClient(api_key="key", base_url="http://localhost:8080/v1", timeout=30, max_connections=10),
        AsyncClient(api_key=token, timeout=Timeout(total=None), retry=RetryPolicy(attempts=1)),
        AsyncClient(api_key=lambda: "key", default_query={"api-version": "v1"}, beta=None),
        AsyncClient(api_key=NO_KEY, http_client=httpx.AsyncClient()),
        AsyncClient(transport="aiohttp"),
        AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200))),
        AsyncClient("key"),  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        AsyncClient(transport="requests"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        AsyncClient(retries=3),  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ]


async def operations(client: AsyncClient) -> None:
    """Call operations with what they take."""
    assistant = await client.create_assistant(
        model="m", tools=[AssistantToolsCode(), {"type": "file_search"}], metadata={"a": "b"}, top_p=0.5, name=None
    )
    assert_type(assistant, Assistant)
    thread = await client.create_thread(messages=[{"role": "user", "content": "Hello"}])
    assert_type(thread, Thread)
    assert_type(await client.create_message(thread.id, role="user", content="Hello"), Message)
    run = await client.create_run(
        thread.id,
        assistant_id=assistant.id,
        truncation_strategy=Truncation(type="last_messages", last_messages=3),
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format="auto",
    )
    assert_type(run, Run)
    await client.submit_tool_outputs_to_run(
        thread.id, run.id, tool_outputs=[{"tool_call_id": call.id, "output": "1"} for call in run.required_tool_calls]
    )
    await client.create_assistant()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.create_assistant("m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.create_run(thread.id, assistant_id="a", modle="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.create_run(thread.id, assistant_id="a", stream=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.get_run(thread.id)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.get_run(thread.id, 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_run(thread, run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.create_thread_and_run(assistant_id="a", thread=thread)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run.status = "completed"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def dicts(message: Message) -> None:
    """Turn models into plain values and back, and change copies."""
    assert_type(to_dict(message), dict[str, object])
    assert_type(from_dict(Message, {"id": "msg_1"}), Message)
    assert_type(from_dict(Page[Message], to_dict(Page(data=(message,)))), Page[Message])
    assert_type(attrs.evolve(message, metadata={"a": "b"}), Message)
    attrs.evolve(message, metadata=5)  # type: ignore[arg-type]
    MessageAttachment(tools=(AssistantToolsFunction(),))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    to_dict({"id": "msg_1"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    from_dict(dict, {})  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


async def listings(client: AsyncClient) -> None:
    """Use listings in every documented way."""
    listing = client.list_messages("thread_1", limit=100, order="asc")
    assert_type(listing, Listing[Message])
    assert_type(await listing, Page[Message])
    assert_type(await listing.collect(max_items=10), list[Message])
    async for message in listing:
        assert_type(message, Message)
    first = await listing
    assert_type([(message.id, len(first)) for message in first], list[tuple[str, int]])
    async for _ in first:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    async for page in listing.pages():
        assert_type(page.data, tuple[Message, ...])
    client.list_runs("thread_1", order="newest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def raw(client: AsyncClient) -> None:
    """Read whole answers; parameters are checked as for the plain operations."""
    answer = await client.with_raw_response.get_run("thread_1", "run_1")
    assert_type(answer, RawResponse[Run])
    assert_type(answer.headers, Mapping[str, str])
    assert_type(await client.with_raw_response.list_runs("thread_1", limit=1), RawResponse[Page[Run]])
    await client.with_raw_response.get_run("thread_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def waiting(client: AsyncClient) -> AsyncIterator[str]:
    """Wait for runs."""
    run = await client.run_and_wait(
        "thread_1", assistant_id="asst_1", poll=PollPolicy.every(1), on_status=lambda run: print(run.status), timeout=9
    )
    assert_type(run.raise_for_status(), Run)
    assert_type(await client.run_text(run), str)
    copy = client.with_options(timeout=5, headers={"x-trace": "1"}, extra_body={"vendor": True})
    assert_type(copy, AsyncClient)
    await client.wait_for_run("thread_1", "run_1", on_cancel="stop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    try:
        await client.wait_for_run("thread_1", "run_1")
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except RunFailedError as error:
        assert_type(error.run, Run)
    yield run.id


async def talking(client: AsyncClient) -> None:
    """Talk on one thread."""
    talk = client.conversation("thread_1", assistant_id="asst_1", on_active_run="cancel")
    reply = await talk.ask("Hello", timeout=9, metadata={"turn": "1"}, on_status=lambda run: print(run.status))
    assert_type(reply, Reply)
    assert_type(reply.render("strip"), str)
    assert_type(reply.render(lambda annotation, number: f"{annotation.type} {number}"), str)
    assert_type(await talk.history(limit=5).collect(), list[Message])
    async with talk.stream([{"type": "text", "text": "Hello"}], temperature=1.0) as stream:
        assert_type([piece async for piece in stream.text()], list[str])
    assert_type(stream.reply(), Reply)
    turn: TurnStream = talk.stream("Hello")
    await turn  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    list(talk.history())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    len(talk.history())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.conversation()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    reply.render("footnote")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await talk.ask(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def contents(message: Message) -> str:
    """Tell the parts of a message apart, all of them."""
    found: list[str] = []
    for part in message.content:
        match part:
            case MessageContentText():
                found.append(part.text.value)
            case MessageContentRefusal():
                found.append(part.refusal or "")
            case MessageContentImageFile() | MessageContentImageUrl():
                found.append(part.type)
            case UnknownMessageContent():
                found.append(str(part.raw))
            case _:
                assert_never(part)
    return "".join(found)
