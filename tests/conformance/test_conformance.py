"""The client's operations, parameters, models and requests are those of the table of facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncassist import models

from . import table
from .checks import decoding_problems, model_problems, operation_problems, raw_problems
from .events import event_problems
from .sent import raw_answer_problems, sent_problems, unknown_parameter_problems
from .table import Facts


def test_operations() -> None:
    """Every operation is a method with the ids in URL order, all parameters as keywords, and no others."""
    problems = list(operation_problems(table.load()))

    assert not problems, "\n".join(problems)


def test_raw_operations() -> None:
    """``with_raw_response`` offers every operation and nothing else."""
    problems = list(raw_problems(table.load()))

    assert not problems, "\n".join(problems)


def test_models() -> None:
    """Every schema has its class, with the same fields, types, known names and treatment of null."""
    problems = model_problems(table.load())

    assert not problems, "\n".join(problems)


def test_decoding() -> None:
    """Every schema's values, with all fields, with the least and with all nulls, come out of their model unchanged."""
    problems = decoding_problems(table.load())

    assert not problems, "\n".join(problems)


def test_events() -> None:
    """Every event of a stream has its class, with the name and the data it has in the API, and no other has one."""
    problems = list(event_problems(table.load()))

    assert not problems, "\n".join(problems)


@pytest.mark.anyio
async def test_sent_requests() -> None:
    """Each operation sends the table's method, path, query and body, and decodes the answer without loss."""
    problems = await sent_problems(table.load())

    assert not problems, "\n".join(problems)


@pytest.mark.anyio
async def test_unknown_parameters() -> None:
    """Each operation refuses a parameter the API does not have before anything is sent."""
    problems = await unknown_parameter_problems(table.load())

    assert not problems, "\n".join(problems)


@pytest.mark.anyio
async def test_raw_answers() -> None:
    """Each operation gives status, headers, request id and the decoded object through ``with_raw_response``."""
    problems = await raw_answer_problems(table.load())

    assert not problems, "\n".join(problems)


# --- each check can fail ----------------------------------------------------------------------------------------------
# The table is altered where the package is right, so that each check has to complain of exactly that.

Alteration = Callable[[Facts], object]


def part_of(facts: Facts, path: str) -> Any:
    """Give the part of the table at a path such as ``schemas/RunObject/fields``."""
    part: Any = facts
    for step in path.split("/"):
        part = part[int(step) if isinstance(part, list) else step]
    return part


def put(path: str, /, **values: Any) -> Alteration:
    """Make an alteration that sets values in a part of the table."""
    return lambda facts: part_of(facts, path).update(values)


def drop(path: str, *names: str) -> Alteration:
    """Make an alteration that removes entries of a part of the table."""
    return lambda facts: [part_of(facts, path).pop(name) for name in names]


def append(path: str, value: Any) -> Alteration:
    """Make an alteration that adds to a list of the table."""
    return lambda facts: part_of(facts, path).append(value)


def take(path: str, index: int) -> Alteration:
    """Make an alteration that removes an item of a list of the table."""
    return lambda facts: part_of(facts, path).pop(index)


def rename(part: dict[str, Any], old: str, new: str) -> None:
    """Give an entry of the table another name."""
    part[new] = part.pop(old)


STRING = {"type": "string"}
NEW_OPERATION = {"method": "GET", "path": "/threads/new", "parameters": {}, "response": {"ref": "ThreadObject"}}
RUN = "schemas/RunObject/fields"
CREATE_RUN = "schemas/CreateRunRequest/fields"
MESSAGE = "schemas/CreateMessageRequest/fields"


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (drop("operations", "getRun"), "get_run is no operation of the API"),
        (put("operations", getThreadPlan=NEW_OPERATION), "get_thread_plan is missing"),
        (
            put("operations/getRun", path="/threads/{run_id}/runs/{thread_id}"),
            "get_run: takes the ids ['thread_id', 'run_id'], the path has ['run_id', 'thread_id']",
        ),
        (drop("operations/listRuns/parameters", "order"), "list_runs: takes order, which the API does not"),
        (
            put("operations/listRuns/parameters", status={"in": "query", **STRING}),
            "list_runs: does not take status",
        ),
        (drop("operations/getRunStep/parameters", "include[]"), "get_run_step: takes include, which the API does not"),
        (drop("operations/createRun/parameters", "include[]"), "create_run: takes include, which the API does not"),
        (put(CREATE_RUN, priority=STRING), "create_run: does not take priority"),
        (drop(CREATE_RUN, "top_p"), "create_run: takes top_p, which the API does not"),
        (put(f"{CREATE_RUN}/model", required=True), "create_run: model need not be given"),
        (drop(f"{CREATE_RUN}/assistant_id", "required"), "create_run: assistant_id must be given"),
        (drop(f"{CREATE_RUN}/top_p", "nullable"), "create_run: top_p takes None"),
        (put(f"{CREATE_RUN}/parallel_tool_calls", nullable=True), "create_run: parallel_tool_calls refuses None"),
        (drop("schemas/Metadata", "nullable"), "modify_run: metadata takes None"),
        (drop("operations/createThread", "body"), "create_thread: takes messages, which the API does not"),
        (
            put("operations/cancelRun", response={"ref": "ListRunsResponse"}),
            "cancel_run: only a listing is a plain function",
        ),
    ],
)
def test_operations_can_fail(alter: Alteration, complaint: str) -> None:
    """The comparison of the operations notices a difference in either direction."""
    facts = table.load()
    alter(facts)

    assert complaint in list(operation_problems(facts))


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (drop("operations", "getRun"), "with_raw_response has get_run, which is no operation"),
        (put("operations", getThreadPlan=NEW_OPERATION), "with_raw_response lacks get_thread_plan"),
    ],
)
def test_raw_operations_can_fail(alter: Alteration, complaint: str) -> None:
    """The comparison of ``with_raw_response`` notices a difference in either direction."""
    facts = table.load()
    alter(facts)

    assert [complaint] == list(raw_problems(facts))


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (put("schemas", PlanObject={"fields": {"id": STRING}}), "models: PlanObject has no class"),
        (put(RUN, priority=STRING), "Run: priority is missing, RunObject has it"),
        (drop(RUN, "model"), "Run: model is no field of RunObject"),
        (put(f"{RUN}/model", type="integer"), "Run: model is no integer"),
        (put(f"{RUN}/temperature", type="boolean"), "Run: temperature is no boolean"),
        (put(f"{RUN}/metadata", ref="FunctionParameters"), "Run: metadata is no mapping"),
        (put(f"{RUN}/model", ref="AssistantObject"), "Run: model has 0 classes for AssistantObject"),
        (put(f"{RUN}/usage", ref="ThreadObject"), "Run: ThreadObject is a RunCompletionUsage, not a Thread"),
        (put(f"{RUN}/usage", required=False), "Run: usage is not required, but sent when empty"),
        (put(f"{RUN}/temperature", required=True), "Run: temperature is left out when empty"),
        (put(f"{RUN}/thread_id", required=False), "Run: thread_id need not be sent"),
        (put(f"{RUN}/status", nullable=True), "Run: status may be null"),
        (append(f"{RUN}/status/enum", "paused"), "Run: status knows [] and does not know ['paused']"),
        (
            lambda facts: part_of(facts, f"{RUN}/status/enum").remove("queued"),
            "Run: status knows ['queued'] and does not know []",
        ),
        (
            put(f"{RUN}/object", const="thread.job"),
            "Run: object knows ['thread.run'] and does not know ['thread.job']",
        ),
        (
            put("schemas/RunObject.last_error/fields", param=STRING),
            "RunLastError: param is missing, RunObject.last_error has it",
        ),
        (
            drop("schemas/RunObject.required_action/fields", "type"),
            "RunRequiredAction: type is no field of RunObject.required_action",
        ),
        (put(f"{RUN}/tools", items=STRING), "Run: tools is no string"),
        (put(f"{RUN}/model", type="array", items=STRING), "Run: model is no list"),
        (
            append("schemas/RunObject.tools[]/union", {"ref": "MessageContentRefusalObject"}),
            "Run: tools has no class for MessageContentRefusalObject",
        ),
        (
            take("schemas/RunObject.tools[]/union", 0),
            "Run: tools may be of AssistantToolsCode, which the API does not have there",
        ),
        (
            take("schemas/AssistantsApiToolChoiceOption/union", 1),
            "Run: tool_choice may be of AssistantsNamedToolChoice, which the API does not have there",
        ),
        (
            append("schemas/AssistantsApiToolChoiceOption/union/0/enum", "any"),
            "Run: tool_choice knows [] and does not know ['any']",
        ),
        (
            append("schemas/AssistantsApiToolChoiceOption/union", {"type": "integer"}),
            "Run: tool_choice is no integer",
        ),
        (put("operations/getRun", response={"ref": "ThreadObject"}), "get_run: ThreadObject is a Run, not a Thread"),
        (
            put("schemas/ListRunsResponse/fields/data", items={"ref": "MessageObject"}),
            "Page: MessageObject is a Run, not a Message",
        ),
        (drop("schemas/ListRunsResponse/fields", "has_more"), "Page: has_more is no field of ListRunsResponse"),
        (put(MESSAGE, name=STRING), "MessageParams: name is missing, CreateMessageRequest has it"),
        (drop(MESSAGE, "attachments"), "MessageParams: attachments is no field of CreateMessageRequest"),
        (put(f"{MESSAGE}/role", required=False), "MessageParams: role must be given"),
        (put(f"{MESSAGE}/metadata", required=True), "MessageParams: metadata need not be given"),
        (put(f"{MESSAGE}/content", nullable=True), "MessageParams: content refuses None"),
        (drop(f"{MESSAGE}/attachments", "nullable"), "MessageParams: attachments takes None"),
        (append(f"{MESSAGE}/role/enum", "tool"), "create_message: role knows [] and does not know ['tool']"),
        (
            put("schemas/CreateThreadRequest/fields", title=STRING),
            "ThreadParams: title is missing, CreateThreadRequest has it",
        ),
        (
            put("schemas/CreateMessageRequest.attachments[]/fields", name=STRING),
            "MessageAttachment: name is missing, CreateMessageRequest.attachments[] has it",
        ),
        (
            put("schemas/SubmitToolOutputsRunRequest.tool_outputs[]/fields", error=STRING),
            "ToolOutput: error is missing, SubmitToolOutputsRunRequest.tool_outputs[] has it",
        ),
        (put("schemas/TruncationObject/fields", first=STRING), "Truncation: first is missing, TruncationObject has it"),
        (
            put("schemas/CreateAssistantRequest.tool_resources/fields", web=STRING),
            "ToolResources: web is missing, CreateAssistantRequest.tool_resources has it",
        ),
        (
            put("schemas/RunStepCompletionUsage/fields/total_tokens", required=False),
            "RunCompletionUsage: total_tokens is not required, but sent when empty",
        ),
        (
            put("operations/listRuns/parameters/order", enum=["asc", "desc", "none"]),
            "list_runs: order knows [] and does not know ['none']",
        ),
        (drop("schemas", "ErrorResponse"), "models: ErrorResponse stands for no schema"),
        (
            put("schemas/AssistantToolsCode/fields", type={"enum": ["code_interpreter"], "required": True, **STRING}),
            "AssistantToolsCode: type is closed to new names",
        ),
        (
            put("schemas/AssistantsNamedToolChoice/fields", type={"const": "function", "required": True, **STRING}),
            "Run: tool_choice has no class for what is unknown",
        ),
        (put("operations/listRuns/parameters/limit", type="string"), "list_runs: limit is no string"),
        (put(f"{CREATE_RUN}/max_prompt_tokens", type="boolean"), "create_run: max_prompt_tokens is no boolean"),
    ],
)
def test_models_can_fail(alter: Alteration, complaint: str) -> None:
    """The comparison of the models notices a difference in either direction."""
    facts = table.load()
    alter(facts)

    assert complaint in model_problems(facts)


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (put(f"{RUN}/model", type="integer"), "RunObject with everything: model cannot be decoded"),
        (drop(f"{RUN}/thread_id", "required"), "RunObject with the least: thread_id cannot be decoded"),
        (put(f"{RUN}/status", nullable=True), "RunObject with nulls: status cannot be decoded"),
        (put(RUN, priority=STRING), "RunObject with everything: ['priority'] are not known"),
    ],
)
def test_decoding_can_fail(alter: Alteration, complaint: str) -> None:
    """The comparison of decoded values notices one that does not fit."""
    facts = table.load()
    alter(facts)

    assert complaint in decoding_problems(facts)


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (append("events", "thread.run.paused"), "thread.run.paused has no class"),
        (
            put("schemas/RunStreamEvent:thread.run.queued/fields/event", const="thread.run.paused"),
            "thread.run.queued is no event of the API",
        ),
        (take("schemas/AssistantStreamEvent/union", 0), "done is no event of the API"),
        (
            put("schemas/RunStreamEvent:thread.run.queued/fields", at={"type": "integer"}),
            "thread.run.queued: at is missing",
        ),
        (
            put("schemas/RunStreamEvent:thread.run.queued/fields", data={"ref": "RunStepObject"}),
            "thread.run.queued: data is a Run, not a RunStep",
        ),
        (put("schemas/DoneEvent/fields/data", const="[END]"), "done: data is ['[DONE]'], not [END]"),
        (put("schemas/DoneEvent/fields/data", const="[END]"), "done: with the least: [END] became [DONE]"),
        (
            put("schemas/ErrorEvent/fields", data={"ref": "ThreadObject"}),
            "error: with nulls: the server reported an error in the stream: it does not say which",
        ),
        (
            put("schemas/MessageDeltaObject/fields", id={"type": "integer"}),
            "thread.message.delta: with everything: "
            "the data of a thread.message.delta event cannot be read: id: expected a string, got a number",
        ),
    ],
)
def test_events_can_fail(alter: Alteration, complaint: str) -> None:
    """The comparison of the events notices a difference."""
    facts = table.load()
    alter(facts)

    assert complaint in list(event_problems(facts))


def test_what_a_stream_gives_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of the events notices a class that is missing from the union, and one too many."""
    monkeypatch.setattr(models, "StreamEvent", models.RunEvent | models.Run, raising=False)
    problems = list(event_problems(table.load()))

    assert "Run is among what a stream gives" in problems
    assert "DoneEvent is not among what a stream gives" in problems


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (
            put("operations/getRun", method="POST"),
            "get_run with the least: sent GET /prefix/v1/threads/thread_id-1/runs/run_id-1, "
            "not POST /prefix/v1/threads/thread_id-1/runs/run_id-1",
        ),
        (
            put("operations/deleteThread", path="/thread/{thread_id}"),
            "delete_thread with the least: sent DELETE /prefix/v1/threads/thread_id-1, "
            "not DELETE /prefix/v1/thread/thread_id-1",
        ),
        (
            lambda facts: rename(part_of(facts, "operations/getRunStep/parameters"), "include[]", "include"),
            "get_run_step with everything: sent the query "
            "[('include[]', 'step_details.tool_calls[*].file_search.results[*].content')]",
        ),
        (drop("operations/modifyThread", "body"), "modify_thread with the least: sent a body: b'{}'"),
        (
            put("operations/cancelRun", body={"ref": "ModifyRunRequest"}),
            "cancel_run with everything: TypeError",
        ),
        (put(f"{RUN}/model", type="integer"), "get_run with the least: DecodeError"),
    ],
)
async def test_sent_requests_can_fail(alter: Alteration, complaint: str) -> None:
    """The comparison of what is sent notices a difference."""
    facts = table.load()
    alter(facts)
    problems = await sent_problems(facts)

    assert [problem for problem in problems if problem.startswith(complaint)]


@pytest.mark.anyio
async def test_unknown_parameters_can_fail() -> None:
    """The search for operations that take unknown parameters notices one that is taken."""
    problems = await unknown_parameter_problems(table.load(), unknown="metadata")

    assert "modify_run takes metadata" in problems
    assert "get_run takes metadata" not in problems


@pytest.mark.anyio
async def test_raw_answers_can_fail() -> None:
    """The comparison of raw answers notices one that does not fit."""
    facts = table.load()
    put("operations/getRun", response={"ref": "DeleteThreadResponse"})(facts)
    problems = await raw_answer_problems(facts)

    assert [problem[:20] for problem in problems] == ["get_run: DecodeError"] * 3
