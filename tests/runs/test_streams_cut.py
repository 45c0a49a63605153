"""Streams that break, at every byte: nothing is lost, nothing comes twice, and no second run is started."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from transport.helpers import paced, pool_of
from transport.loopback import Loopback

from asyncassist import APIStatusError, AsyncClient, Run, StreamError, StreamInterruptedError, Timeout
from asyncassist._wire.converter import structure
from asyncassist._wire.snapshots import Snapshots
from asyncassist.models import Message, MessageContentRefusal
from asyncassist.runs.run_stream import RunStream
from asyncassist.tools import Toolset

from .helpers import (
    ASSISTANT,
    KEY,
    MANY_PARTS,
    MANY_TEXT,
    ONE_MESSAGE,
    ONE_TEXT,
    QUICK,
    RUN,
    THREAD,
    InProcess,
    Recorded,
    Stage,
    Told,
    call,
    cut_at,
    event,
    read,
    run,
    serve,
    tool_rounds,
)

pytestmark = pytest.mark.anyio

TWO_ROUNDS = tool_rounds(
    [call(1, "weather", city="Paris"), call(2, "weather", city="Rome")], [call(3, "weather", city="Oslo")]
)
ONE_ROUND = tool_rounds([call(1, "weather", city="Rome")])
CUTS: Sequence[Any] = ("fin", "end", "reset", "silence")
STORIES: dict[str, tuple[Recorded, str]] = {
    "one message": (ONE_MESSAGE, ONE_TEXT),
    "thread, many parts": (MANY_PARTS, MANY_TEXT),
    "a tool round": (ONE_ROUND, "Sunny."),
    "tool rounds": (TWO_ROUNDS, "Sunny."),
}


class Weather:
    """A tool that counts how often it was called."""

    def __init__(self) -> None:
        self.cities: list[str] = []
        self.toolset = Toolset([self.weather])

    async def weather(self, city: str) -> str:
        """Tell the weather."""
        self.cities.append(city)
        return f"sunny in {city}"


def stream_of(client: AsyncClient, story: str, weather: Weather, **options: Any) -> RunStream:
    if story == "thread, many parts":
        return client.stream_thread_and_run(assistant_id=ASSISTANT, poll=QUICK, **options)
    toolset = weather.toolset if "tool" in story else None
    return client.stream_run(THREAD, assistant_id=ASSISTANT, toolset=toolset, poll=QUICK, **options)


def check(recorded: Recorded, told: Told, stream: RunStream, weather: Weather, text: str) -> None:
    """See that the reader has got everything, once."""
    assert told.text == text
    assert stream.run == structure(run("completed"), Run)
    last = recorded.stages[-1]
    assert [message.id for message in stream.messages] == [message["id"] for message in last.messages]
    assert "\n\n".join(message.text for message in stream.messages) == text
    assert {message.status for message in stream.messages} == {"completed"}
    assert {step.id: step.status for step in stream.steps} == {step["id"]: "completed" for step in last.steps}
    assert (recorded.created, recorded.cancels) == (1, 0)
    # What the server did not send is marked, and nothing else.
    assert [told_.reconciled for told_ in told.events[:-1]] == [not received for received in told.received[:-1]]
    assert told.names.count("thread.run.completed") == 1
    calls = [call["id"] for stage in recorded.stages for call in _calls(stage.run)]
    assert [output["tool_call_id"] for outputs in recorded.submitted for output in outputs] == calls
    assert len(weather.cities) == len(calls)


def _calls(values: Any) -> Sequence[Any]:
    return values["required_action"]["submit_tool_outputs"]["tool_calls"] if "required_action" in values else ()


@pytest.mark.parametrize("story", ["one message", "thread, many parts", "a tool round"])
async def test_a_stream_cut_at_every_byte_loses_nothing(story: str, anyio_backend: str) -> None:
    """After the first event with the run's id, a break anywhere leads to the same run, text, messages and steps."""
    original, text = STORIES[story]
    weather = Weather()
    wire = InProcess(original)
    client = wire.client()
    paced(client)
    # Which byte it is makes no difference to the event loop, so one of them may do with some; and a stream behind tool
    # outputs is read as the first one is.
    step = 11 if anyio_backend == "trio" else 5 if "tool" in story else 1
    for cut in range(original.known_after, original.length, step):
        recorded = cut_at(original, cut)
        weather.cities.clear()
        wire.recorded, wire.cut = recorded, CUTS[cut % 4]
        async with stream_of(client, story, weather) as stream:
            told = await read(stream)
        check(recorded, told, stream, weather, text)
        assert wire.open == 0


@pytest.mark.parametrize("story", ["one message", "thread, many parts"])
async def test_a_stream_cut_before_its_run_is_known(story: str) -> None:
    """No break before the first event with the run's id is taken for an end, and none starts a second run."""
    original, _ = STORIES[story]
    for cut in range(original.known_after):
        recorded = cut_at(original, cut)
        wire = InProcess(recorded, cut=CUTS[cut % 4])
        client = wire.client()
        with pytest.raises(StreamInterruptedError, match="the run's id had not come yet") as caught:
            async with stream_of(client, story, Weather()) as stream:
                await read(stream)
        assert caught.value.run_id is None
        thread_event = original.stages[0].stream.index(b"\n\n") + 2
        knows_thread = story == "thread, many parts" and cut >= thread_event
        assert caught.value.thread_id == (THREAD if knows_thread else None)
        assert recorded.asked == [recorded.asked[0]]
        assert (recorded.created, wire.open) == (1, 0)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("story", list(STORIES))
async def test_a_connection_that_breaks_loses_nothing(server: Loopback, story: str, cut: Any) -> None:
    """The same over sockets: connections that end, are reset or fall silent; the pool has none busy afterwards."""
    original, text = STORIES[story]
    span = original.length - original.known_after
    places = [original.known_after + span * part // 7 for part in range(7)]
    timeout = Timeout(idle=0.05) if cut == "silence" else Timeout()
    async with AsyncClient(api_key=KEY, base_url=server.url, timeout=timeout) as client:
        for place in places:
            recorded = cut_at(original, place)
            server.default = serve(recorded, cut)
            weather = Weather()
            async with stream_of(client, story, weather) as stream:
                told = await read(stream)
            check(recorded, told, stream, weather, text)
            assert not pool_of(client)._busy


@pytest.mark.parametrize("story", list(STORIES))
async def test_recovery_can_be_switched_off(story: str) -> None:
    """With ``reconcile=False`` a break is an error that has the run and what had come, and the run is cancelled."""
    original, _ = STORIES[story]
    for cut in range(original.known_after, original.length, 31):
        recorded = cut_at(original, cut)
        told = Told()
        wire = InProcess(recorded)
        with pytest.raises(StreamInterruptedError) as caught:
            async with stream_of(wire.client(), story, Weather(), reconcile=False) as stream:
                await read(stream, told)
                if stream.run is not None and stream.run.status == "completed":
                    raise StreamInterruptedError("all was said", thread_id=THREAD, run_id=RUN)  # but for its end
        assert (caught.value.thread_id, caught.value.run_id) == (THREAD, RUN)
        assert told.reconciled in ([], told.events[-1:])
        assert recorded.cancels == (0 if "thread.run.completed" in told.names else 1)
        assert wire.open == 0
        assert not any(asked.startswith("GET") for asked in recorded.asked)


async def test_the_error_of_an_interrupted_stream_can_be_pickled() -> None:
    """The error with its snapshot survives pickling, as all errors do."""
    wire = InProcess(cut_at(MANY_PARTS, MANY_PARTS.length - 300))
    with pytest.raises(StreamInterruptedError) as caught:
        async with stream_of(wire.client(), "thread, many parts", Weather(), reconcile=False) as stream:
            await read(stream)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.run_id == RUN
    assert again.snapshot.messages == caught.value.snapshot.messages  # type: ignore[attr-defined]


class Fails(InProcess):
    """Tells a run, but answers some of what is asked afterwards with an error."""

    def __init__(self, recorded: Recorded, what: str, status: int) -> None:
        super().__init__(recorded)
        self._what = what
        self._status = status

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.method == "GET" and request.url.path.endswith(self._what):
            return httpx.Response(self._status, json={"error": {"message": "no"}})
        return response


@pytest.mark.parametrize(("what", "status"), [("/run_1", 404), ("/messages", 403), ("/steps", 400)])
async def test_a_recovery_that_fails_says_so(what: str, status: int) -> None:
    """When the server does not tell what was missed, the error has the run, what had come, and the reason."""
    recorded = cut_at(ONE_MESSAGE, ONE_MESSAGE.length - 200)
    told = Told()
    with pytest.raises(StreamInterruptedError, match="run run_1") as caught:
        async with stream_of(Fails(recorded, what, status).client(), "one message", Weather()) as stream:
            await read(stream, told)
    assert told.text == "Hello"
    assert isinstance(caught.value.__cause__, APIStatusError)
    assert isinstance(caught.value, StreamError)


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_steps_is_enough(status: int) -> None:
    """Steps a server does not keep are not missed."""
    recorded = cut_at(ONE_MESSAGE, ONE_MESSAGE.known_after)
    async with stream_of(Fails(recorded, "/steps", status).client(), "one message", Weather()) as stream:
        told = await read(stream)
    assert told.text == ONE_TEXT


RICH = {
    "id": "msg_1",
    "thread_id": THREAD,
    "run_id": RUN,
    "role": "assistant",
    "status": "completed",
    "content": [
        {"type": "image_file", "image_file": {"file_id": "file_1"}},
        {"type": "refusal", "refusal": "I must not."},
        {"type": "text", "text": {"value": "Sorry.", "annotations": []}},
        {"type": "hologram", "depth": 3},
        {"type": None, "shape": "odd"},
    ],
}


@pytest.mark.parametrize("had", [0, 1, 2, 3, 4, 5])
async def test_parts_of_every_kind_are_recovered(had: int) -> None:
    """Images, refusals and parts of a later API are recovered, whole or the rest of them, as texts are."""
    deltas: list[Any] = [
        {"index": 0, "type": "image_file", "image_file": {"file_id": "file_1"}},
        {"index": 1, "type": "refusal", "refusal": "I mu"},
        {"index": 2, "type": "text", "text": {"value": "Sor"}},
        {"index": 3, "type": "hologram", "depth": 3},
        {"index": 4, "type": None, "shape": "odd"},
    ]
    data = event("thread.run.created", run("queued"))
    for delta in deltas[:had]:
        data += event("thread.message.delta", {"id": "msg_1", "delta": {"content": [delta]}})
    wire = InProcess(Recorded([Stage(data, run("completed"), [RICH])]))
    seen = Snapshots()
    async with stream_of(wire.client(), "one message", Weather()) as stream:
        async for told in stream:
            if told.event != "thread.message.completed":  # what the deltas alone make of it
                seen.apply(told)
    (message,) = stream.messages
    assert message == structure(RICH, Message)
    assert [part.type for part in seen.messages["msg_1"].content] == [part.type for part in message.content]
    assert seen.messages["msg_1"].text == "Sorry."
    refusal = seen.messages["msg_1"].content[1]
    assert isinstance(refusal, MessageContentRefusal)
    assert refusal.refusal == "I must not."


async def test_a_text_that_has_become_another_comes_whole_at_the_end() -> None:
    """Where the server says something else than it had streamed, the message has it; no piece is made up."""
    data = event("thread.run.created", run("queued"))
    for part in ({"type": "text", "text": {"value": "Draft"}}, {"type": "image_url", "image_url": {"url": "http://a"}}):
        data += event("thread.message.delta", {"id": "msg_1", "delta": {"content": [{"index": 0, **part}]}})
    final = {
        **RICH,
        "content": [{"type": "text", "text": {"value": "Final."}}, {"type": "text", "text": {"value": "!"}}],
    }
    wire = InProcess(Recorded([Stage(data, run("completed"), [final])]))
    async with stream_of(wire.client(), "one message", Weather()) as stream:
        told = await read(stream)
    assert stream.messages == (structure(final, Message),)
    assert told.pieces == ["Draft"]


async def test_steps_that_have_not_changed_come_once() -> None:
    """A recovery in the middle of a round repeats no step that stands as it stood."""
    original = ONE_ROUND
    cut = original.stages[0].stream.index(b"event: thread.run.requires_action")
    recorded = cut_at(original, cut)
    async with stream_of(InProcess(recorded).client(), "a tool round", Weather()) as stream:
        told = await read(stream)
    assert told.names.count("thread.run.step.created") == 2
    assert "thread.run.step.in_progress" not in told.names
