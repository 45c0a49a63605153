"""Tool rounds in waits and streams: every call is made once, and its output handed in once, whatever breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from transport.helpers import paced

from asyncassist import APIStatusError, AsyncClient, BadRequestError, NotFoundError, Run, ToolError, WaitTimeoutError
from asyncassist.server import FunctionCall, LocalServer, OfflineBackend, Rule
from asyncassist.tools import PendingCall, Toolset

from .helpers import ASSISTANT, QUICK, RUN, THREAD, InProcess, Recorded, call, calling, read, run, tool_rounds

pytestmark = pytest.mark.anyio


class Weather:
    """A toolset that counts its calls."""

    def __init__(self, before: Callable[[], object] = lambda: None, **rules: Any) -> None:
        self.cities: list[str] = []
        self.before = before
        self.toolset = Toolset([self.weather], **rules)

    async def weather(self, city: str) -> str:
        """Tell the weather."""
        self.cities.append(city)
        self.before()
        await checkpoint()
        return f"sunny in {city}"


async def follow(how: str, client: AsyncClient, toolset: Toolset, **options: Any) -> tuple[Run, str]:
    """Follow a run in one of the two ways; give it and its text."""
    if how == "wait":
        ended = await client.run_and_wait(THREAD, assistant_id=ASSISTANT, toolset=toolset, poll=QUICK, **options)
        return ended, await client.run_text(ended)
    async with client.stream_run(THREAD, assistant_id=ASSISTANT, toolset=toolset, poll=QUICK, **options) as stream:
        told = await read(stream)
    assert stream.run is not None
    return stream.run, told.text


HOW = pytest.mark.parametrize("how", ["wait", "stream"])


@HOW
async def test_five_tools_three_rounds(how: str) -> None:
    """Five calls a round, one slow, one failing, one unknown at first: outputs complete, in order, sent once."""
    made: list[str] = []

    async def fast(number: int) -> str:
        """Be fast."""
        made.append(f"fast {number}")
        return f"fast {number}"

    async def slow(number: int) -> str:
        """Be slow."""
        await anyio.sleep(0.02)
        made.append(f"slow {number}")
        return f"slow {number}"

    async def wrong(number: int) -> str:
        """Fail."""
        made.append(f"wrong {number}")
        raise LookupError("no such thing")

    def threaded(number: int) -> str:
        """Work in a thread."""
        made.append(f"threaded {number}")
        return f"threaded {number}"

    def calls(number: int) -> list[FunctionCall]:
        names = ["slow", "fast", "wrong", "threaded", "nobody" if number == 0 else "fast"]
        return [FunctionCall(name, {"number": 10 * number + at}) for at, name in enumerate(names)]

    said = " | ".join(f"{{outputs[{at}]}}" for at in range(15))
    backend = OfflineBackend([Rule(calls=[calls(number) for number in range(3)], say=said)])
    async with LocalServer(backend) as server, server.client() as client:
        toolset = Toolset([fast, slow, wrong, threaded])
        tools: Any = [*toolset.definitions, {"type": "function", "function": {"name": "nobody"}}]
        assistant = await client.create_assistant(model="m", tools=tools)
        thread = await client.create_thread(messages=[{"role": "user", "content": "Hello"}])
        if how == "wait":
            ended = await client.run_and_wait(thread.id, assistant_id=assistant.id, toolset=toolset)
        else:
            async with client.stream_run(thread.id, assistant_id=assistant.id, toolset=toolset) as stream:
                told = await read(stream)
            assert stream.run is not None
            ended = stream.run
            assert told.names.count("thread.run.requires_action") == 3
            assert told.text == await client.run_text(ended)
        outputs = (await client.run_text(ended)).split(" | ")
        steps = await client.list_run_steps(thread.id, ended.id).collect()
    assert ended.status == "completed"
    assert len(steps) == 4
    for number in range(3):
        first, second, third, fourth, fifth = outputs[5 * number : 5 * number + 5]
        assert (first, second) == (f"slow {10 * number}", f"fast {10 * number + 1}")
        assert third.startswith("Error: the tool failed: LookupError")
        assert fourth == f"threaded {10 * number + 3}"
        assert (
            fifth.startswith("Error: there is no tool 'nobody'") if number == 0 else fifth == f"fast {10 * number + 4}"
        )
    assert len(made) == len(set(made)) == 14


@HOW
async def test_an_unknown_tool_asked_for_again(how: str) -> None:
    """Told once that there is no such tool, the model that insists ends the run."""
    recorded = tool_rounds([call(1, "nobody")], [call(2, "nobody")])
    client = InProcess(recorded).client()
    paced(client)
    with pytest.raises(ToolError, match="nobody"):
        await follow(how, client, Weather().toolset)
    assert (len(recorded.submitted), recorded.cancels) == (1, 1)


class Mishap(InProcess):
    """Tells a run, but some requests with tool outputs meet with a mishap, before or after they have acted.

    Args:
        mishaps: what happens to each submission, in turn; None to those that go well.
    """

    def __init__(self, recorded: Recorded, *mishaps: tuple[str, Any] | None) -> None:
        super().__init__(recorded)
        self.submissions: list[Any] = []
        self._mishaps = list(mishaps)
        self.status: str | None = None
        self.stale: list[Any] = []
        self.on_submit: Callable[[], object] = lambda: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_submission = request.url.path.endswith("submit_tool_outputs")
        mishap = None
        if is_submission:
            self.submissions.append(await request.aread())
            self.on_submit()
            mishap = self._mishaps.pop(0) if self._mishaps else None
        if mishap is not None and mishap[0] == "before":
            return self._happen(mishap[1])
        if self.status is not None and request.method == "GET" and request.url.path.endswith(RUN):
            return httpx.Response(200, json=run(self.status))
        if self.stale and self.submissions and request.method == "GET":
            return httpx.Response(200, json=self.stale.pop())
        response = await super().handle_async_request(request)
        if mishap is not None:
            await response.aclose()
            return self._happen(mishap[1])
        return response

    def _happen(self, what: Any) -> httpx.Response:
        if isinstance(what, Exception):
            raise what
        return httpx.Response(what, json={"error": {"message": "no"}})


ONE_CALL = tool_rounds([call(1, "weather", city="Rome")])
LOST = httpx.ReadError("lost")


@HOW
@pytest.mark.parametrize(
    ("mishaps", "sent"),
    [
        ([("before", LOST)], 2),
        ([("after", LOST)], 1),
        ([("before", 500)], 2),
        ([("after", 500)], 1),
        ([("after", httpx.ReadTimeout("slow"))], 1),
        ([("before", LOST), ("before", 503)], 3),
        ([("before", LOST), ("after", 500)], 2),
        ([("before", 400)], 2),
        ([("after", 400)], 1),
        ([("before", 409), ("before", 500)], 3),
    ],
)
async def test_a_submission_that_fails(how: str, mishaps: Any, sent: int) -> None:
    """When it is not known whether the outputs arrived, the run tells; no tool is called twice."""
    weather = Weather()
    wire = Mishap(ONE_CALL.anew(), *mishaps)
    client = wire.client()
    paced(client)
    ended, text = await follow(how, client, weather.toolset)
    assert (ended.status, text, weather.cities) == ("completed", "Sunny.", ["Rome"])
    assert (len(wire.submissions), len(wire.recorded.submitted)) == (sent, 1)
    assert len(set(wire.submissions)) == 1
    assert (wire.recorded.cancels, wire.open) == (0, 0)


@HOW
async def test_a_look_that_is_out_of_date(how: str) -> None:
    """Outputs that have arrived, though the run does not show it yet, are refused when sent again; the run goes on."""
    weather = Weather()
    wire = Mishap(ONE_CALL.anew(), ("after", 500), ("before", 400))
    wire.stale = [calling(call(1, "weather", city="Rome"))]
    client = wire.client()
    paced(client)
    ended, text = await follow(how, client, weather.toolset)
    assert (ended.status, text, weather.cities) == ("completed", "Sunny.", ["Rome"])
    assert (len(wire.submissions), wire.stale) == (2, [])


@HOW
@pytest.mark.parametrize(("mishap", "error"), [(500, ToolError), (LOST, ToolError), (400, BadRequestError)])
async def test_a_submission_that_always_fails(how: str, mishap: Any, error: type[Exception]) -> None:
    """Outputs the server does not take end the wait after a few tries, with pauses between them."""
    weather = Weather()
    wire = Mishap(ONE_CALL.anew(), *[("before", mishap)] * 9)
    client = wire.client()
    naps = paced(client)
    with pytest.raises(error) as caught:
        await follow(how, client, weather.toolset)
    assert weather.cities == ["Rome"]
    assert len(wire.submissions) == (2 if mishap == 400 else 3)
    assert [nap for nap in naps.taken if nap >= 0.25] == ([0.25] if mishap == 400 else [0.25, 0.5, 0.75])
    if isinstance(caught.value, ToolError):
        assert (caught.value.attempted, caught.value.completed) == (("call_1",), ("call_1",))
        assert caught.value.run is not None
    assert wire.open == 0


@HOW
async def test_a_server_that_takes_outputs_and_asks_again(how: str) -> None:
    """A run that asks for the same calls for ever, though their outputs were taken, is given up."""
    recorded = tool_rounds(*[[call(1, "weather", city="Rome")]] * 9)
    weather = Weather()
    client = InProcess(recorded).client()
    paced(client)
    with pytest.raises(ToolError, match="still waits"):
        await follow(how, client, weather.toolset)
    assert (weather.cities, len(recorded.submitted), recorded.cancels) == (["Rome"], 3, 1)


@HOW
async def test_calls_numbered_from_the_start_in_each_round(how: str) -> None:
    """Calls of another round with the same ids are other calls."""
    recorded = tool_rounds([call(1, "weather", city="Rome")], [call(1, "weather", city="Oslo")])
    weather = Weather()
    client = InProcess(recorded).client()
    paced(client)
    _, text = await follow(how, client, weather.toolset)
    assert (text, weather.cities) == ("Sunny.", ["Rome", "Oslo"])
    assert [outputs[0]["output"] for outputs in recorded.submitted] == ["sunny in Rome", "sunny in Oslo"]


@HOW
@pytest.mark.parametrize("status", ["expired", "cancelled"])
async def test_a_run_that_ends_while_a_tool_runs(how: str, status: str) -> None:
    """A run that has expired, or that others have cancelled, is returned as it is; the refused outputs are no error."""
    wire = Mishap(ONE_CALL.anew(), ("before", 400))

    def end() -> None:
        wire.status = status

    weather = Weather(before=end)
    client = wire.client()
    paced(client)
    ended, _ = await follow(how, client, weather.toolset)
    assert (ended.status, wire.recorded.cancels, len(wire.submissions)) == (status, 0, 1)


@HOW
async def test_a_timeout_tells_the_calls(how: str) -> None:
    """A wait that times out while tools run tells which were begun and which ended, and cancels the run."""
    recorded = tool_rounds([call(1, "quick"), call(2, "endless"), call(3, "quick")])

    async def quick() -> None:
        """Be quick."""

    async def endless() -> None:
        """Never end."""
        await anyio.sleep_forever()

    client = InProcess(recorded).client()
    with pytest.raises(WaitTimeoutError) as caught:
        await follow(how, client, Toolset([quick, endless]), timeout=0.15)
    assert (sorted(caught.value.attempted), sorted(caught.value.completed)) == (
        ["call_1", "call_2", "call_3"],
        ["call_1", "call_3"],
    )
    assert caught.value.run is not None
    assert (caught.value.run.status, recorded.cancels, recorded.submitted) == ("requires_action", 1, [])


@HOW
async def test_what_a_hook_raises_ends_the_run(how: str) -> None:
    """Errors of the caller's own hook come through, errors of this library among them, and the run is cancelled."""
    for error in (LookupError("theirs"), NotFoundError("theirs", status=404)):

        def before(call: PendingCall, error: Exception = error) -> None:
            raise error

        recorded = ONE_CALL.anew()
        client = InProcess(recorded).client()
        paced(client)
        with pytest.raises(type(error), match="theirs"):
            await follow(how, client, Weather(before_call=before).toolset)
        assert (recorded.cancels, recorded.submitted) == (1, [])


@HOW
async def test_a_failing_tool_may_raise(how: str) -> None:
    """With ``on_error="raise"`` the tool's failure is a ToolError, and the run is cancelled."""

    def fail() -> None:
        raise LookupError("oh")

    recorded = ONE_CALL.anew()
    client = InProcess(recorded).client()
    paced(client)
    with pytest.raises(ToolError, match="oh"):
        await follow(how, client, Weather(before=fail, on_error="raise").toolset)
    assert recorded.cancels == 1


@HOW
@pytest.mark.parametrize("on_cancel", ["cancel", "leave"])
async def test_cancelled_while_a_tool_runs(how: str, on_cancel: Any) -> None:
    """A caller cancelled meanwhile leaves no run behind unless told to, and hands nothing in."""
    recorded = ONE_CALL.anew()
    client = InProcess(recorded).client()
    paced(client)
    with anyio.CancelScope() as scope:
        await follow(how, client, Weather(before=scope.cancel).toolset, on_cancel=on_cancel)
    assert scope.cancelled_caught
    assert (recorded.cancels, recorded.submitted) == (on_cancel == "cancel", [])


async def test_a_stream_of_outputs_answered_with_json() -> None:
    """A server that does not stream what follows tool outputs is looked at instead; nothing is lost."""
    recorded = ONE_CALL.anew()
    weather = Weather()

    class Plain(InProcess):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if request.url.path.endswith("submit_tool_outputs"):
                await response.aclose()
                return httpx.Response(200, json=run("queued"))
            return response

    wire = Plain(recorded)
    client = wire.client()
    paced(client)
    ended, text = await follow("stream", client, weather.toolset)
    assert (ended.status, text, len(recorded.submitted), wire.open) == ("completed", "Sunny.", 1, 0)


async def test_a_round_that_was_missed_is_told() -> None:
    """A round asked for behind a break is an event like any other, and the run in the stream is the newest."""
    original = tool_rounds([call(1, "weather", city="Rome")], [call(2, "weather", city="Oslo")])
    recorded = original.anew(cut=len(original.stages[0].stream))
    weather = Weather()
    client = InProcess(recorded).client()
    paced(client)
    seen: list[list[str]] = []
    async with client.stream_run(THREAD, assistant_id=ASSISTANT, toolset=weather.toolset, poll=QUICK) as stream:
        async for told in stream:
            if told.event == "thread.run.requires_action":
                assert stream.run == told.data
                seen.append([call.id for call in told.data.required_tool_calls])
    assert seen == [["call_1"], ["call_2"]]
    assert weather.cities == ["Rome", "Oslo"]


async def test_the_error_of_a_refused_submission_is_the_servers() -> None:
    """What the server says about outputs it refuses twice reaches the caller."""
    client = Mishap(ONE_CALL.anew(), ("before", 422), ("before", 422)).client()
    paced(client)
    with pytest.raises(APIStatusError) as caught:
        await follow("wait", client, Weather().toolset)
    assert caught.value.status == 422
