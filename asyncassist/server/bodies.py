"""What the bodies and query strings of the API's requests may hold, one table per operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from asyncassist.server import errors
from asyncassist.server.store.base import PageQuery
from asyncassist.server.validation import (
    Check,
    array,
    boolean,
    either,
    integer,
    json_object,
    metadata,
    name,
    nullable,
    number,
    one_of,
    record,
    refused,
    string,
    tagged,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CREATE_ASSISTANT",
    "CREATE_MESSAGE",
    "CREATE_RUN",
    "CREATE_THREAD",
    "CREATE_THREAD_AND_RUN",
    "MODIFY_ASSISTANT",
    "MODIFY_METADATA",
    "MODIFY_THREAD",
    "SUBMIT_TOOL_OUTPUTS",
    "page_query",
]

MAX_PAGE = 100

# Parts

_detail = one_of("auto", "low", "high")
_nothing_more = record()

_function = record({"name": name()}, {"description": string(), "parameters": json_object, "strict": nullable(boolean)})
_ranking = record({"score_threshold": number(0, 1)}, {"ranker": one_of("auto", "default_2024_08_21")})
_tool = tagged(
    {
        "code_interpreter": _nothing_more,
        "file_search": record(
            optional={"file_search": record(optional={"max_num_results": integer(1, 50), "ranking_options": _ranking})}
        ),
        "function": record({"function": _function}),
    }
)
_tool_resources = nullable(
    record(
        optional={
            "code_interpreter": record(optional={"file_ids": array(string(), maximum=20)}),
            "file_search": record(
                optional={
                    "vector_store_ids": array(string(), maximum=1),
                    "vector_stores": refused("This server has no vector stores to create; give 'vector_store_ids'."),
                }
            ),
        }
    )
)
_response_format = nullable(
    either(
        one_of("auto"),
        tagged(
            {
                "text": _nothing_more,
                "json_object": _nothing_more,
                "json_schema": record(
                    {
                        "json_schema": record(
                            {"name": name()},
                            {"description": string(), "schema": json_object, "strict": nullable(boolean)},
                        )
                    }
                ),
            }
        ),
    )
)
_tool_choice = nullable(
    either(
        one_of("none", "auto", "required"),
        tagged(
            {
                "function": record(optional={"function": record({"name": string()})}),
                "code_interpreter": _nothing_more,
                "file_search": _nothing_more,
            }
        ),
    )
)
_model = string(256)
_instructions = nullable(string(256_000))
_reasoning_effort = nullable(one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"))
_stream = nullable(boolean)

# Bodies

_assistant: dict[str, Check] = {
    "name": nullable(string(256)),
    "description": nullable(string(512)),
    "instructions": _instructions,
    "reasoning_effort": _reasoning_effort,
    "tools": array(_tool, maximum=128),
    "tool_resources": _tool_resources,
    "metadata": nullable(metadata),
    "temperature": nullable(number(0, 2)),
    "top_p": nullable(number(0, 1)),
    "response_format": _response_format,
}

CREATE_ASSISTANT = record({"model": _model}, _assistant)
MODIFY_ASSISTANT = record(optional={"model": _model, **_assistant})

CREATE_MESSAGE = record(
    {
        "role": one_of("user", "assistant"),
        "content": either(
            string(),
            array(
                tagged(
                    {
                        "text": record({"text": string()}),
                        "image_file": record({"image_file": record({"file_id": string()}, {"detail": _detail})}),
                        "image_url": record({"image_url": record({"url": string()}, {"detail": _detail})}),
                    }
                ),
                minimum=1,
            ),
        ),
    },
    {
        "attachments": nullable(
            array(
                record(
                    {
                        "file_id": string(),
                        "tools": array(tagged({"code_interpreter": _nothing_more, "file_search": _nothing_more})),
                    }
                )
            )
        ),
        "metadata": nullable(metadata),
    },
)

CREATE_THREAD = record(
    optional={"messages": array(CREATE_MESSAGE), "tool_resources": _tool_resources, "metadata": nullable(metadata)}
)
MODIFY_THREAD = record(optional={"tool_resources": _tool_resources, "metadata": nullable(metadata)})
MODIFY_METADATA = record(optional={"metadata": nullable(metadata)})

_run: dict[str, Check] = {
    "model": nullable(_model),
    "instructions": _instructions,
    "tools": nullable(array(_tool, maximum=20)),
    "metadata": nullable(metadata),
    "temperature": nullable(number(0, 2)),
    "top_p": nullable(number(0, 1)),
    "max_prompt_tokens": nullable(integer(256)),
    "max_completion_tokens": nullable(integer(256)),
    "truncation_strategy": nullable(
        record({"type": one_of("auto", "last_messages")}, {"last_messages": nullable(integer(1))})
    ),
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
    "response_format": _response_format,
    "stream": _stream,
}

CREATE_RUN = record(
    {"assistant_id": string()},
    {
        **_run,
        "reasoning_effort": _reasoning_effort,
        "additional_instructions": _instructions,
        "additional_messages": nullable(array(CREATE_MESSAGE)),
    },
)
CREATE_THREAD_AND_RUN = record(
    {"assistant_id": string()}, {**_run, "thread": nullable(CREATE_THREAD), "tool_resources": _tool_resources}
)

SUBMIT_TOOL_OUTPUTS = record(
    {"tool_outputs": array(record(optional={"tool_call_id": nullable(string()), "output": nullable(string())}))},
    {"stream": _stream},
)

# Query strings


def page_query(given: Mapping[str, str]) -> PageQuery:
    """Read the parameters all listings share. An empty one counts as absent."""
    limit = given.get("limit") or "20"
    # No client means more digits than these; int() of a very long string is slow, or an error of its own.
    if not limit.removeprefix("-").isdecimal() or len(limit) > 9:
        raise errors.invalid_type("limit", "an integer", "a string")
    order = one_of("asc", "desc")(given.get("order") or "desc", "order")
    return PageQuery(
        limit=cast("int", integer(0, MAX_PAGE)(int(limit), "limit")),
        order=cast("Literal['asc', 'desc']", order),
        after=given.get("after") or None,
        before=given.get("before") or None,
    )
