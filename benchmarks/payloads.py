"""The answers the benchmark server gives: realistic in size, the same for every client."""

from __future__ import annotations

import json
import random

THREAD = "thread_bench00000000000000000"
RUN = "run_bench0000000000000000000"
PAGE_SIZE = 100

# Header for header what a hosted API behind a content delivery network sends; with date, content-length and
# content-type these are 22. Cookies are left out: they would cost every httpx client the same.
FIXED_HEADERS = {
    "connection": "keep-alive",
    "x-request-id": "req_7f3c1d0b9a8e4c6f8b2d5a1e0c9f4b7d",
    "openai-version": "2020-10-01",
    "openai-organization": "org-benchmarks",
    "openai-project": "proj_benchmarks",
    "openai-processing-ms": "87",
    "x-envoy-upstream-service-time": "91",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1999512",
    "x-ratelimit-reset-tokens": "14ms",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "cf-cache-status": "DYNAMIC",
    "cf-ray": "8d1f3c5e7a9b0c2d-FRA",
    "server": "cloudflare",
    "alt-svc": 'h3=":443"; ma=86400',
}

WORDS = (
    *("the", "revenue", "of", "this", "quarter", "grew", "because", "new", "customers", "in", "the", "north", "came"),
    *("back", "after", "summer", "while", "costs", "for", "freight", "and", "storage", "fell", "which", "leaves", "a"),
    *("margin", "that", "is", "higher", "than", "planned", "and", "allows", "two", "more", "hires", "in", "spring"),
)

FUNCTION_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather at a place",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["place"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def encode(value: object) -> bytes:
    """Write a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def run(run_id: str, thread_id: str, status: str) -> dict[str, object]:
    """Give a run as the API shows it."""
    ended = status == "completed"
    return {
        "id": run_id,
        "object": "thread.run",
        "created_at": 1795341959,
        "assistant_id": "asst_bench0000000000000000000",
        "thread_id": thread_id,
        "status": status,
        "started_at": 1795341960,
        "expires_at": None if ended else 1795342559,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": 1795341964 if ended else None,
        "required_action": None,
        "last_error": None,
        "model": "gpt-4o",
        "instructions": "You answer questions about the weather and the figures of the quarter. Be brief and exact.",
        "tools": [{"type": "code_interpreter"}, FUNCTION_TOOL],
        "metadata": {"customer": "4711", "channel": "web"},
        "temperature": 1.0,
        "top_p": 1.0,
        "max_completion_tokens": 1024,
        "max_prompt_tokens": 8192,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "incomplete_details": None,
        "usage": {"prompt_tokens": 345, "completion_tokens": 111, "total_tokens": 456} if ended else None,
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }


def message(number: int, text: str) -> dict[str, object]:
    """Give a message of the benchmark thread; every tenth cites a file."""
    by_assistant = number % 2 == 1
    citation = {
        "type": "file_citation",
        "text": "【4:0†report.pdf】",
        "start_index": len(text),
        "end_index": len(text) + 16,
        "file_citation": {"file_id": "file-bench0000000000000000000"},
    }
    cited = number % 10 == 1
    return {
        "id": f"msg_{number:024d}",
        "object": "thread.message",
        "created_at": 1795341959 + number,
        "thread_id": THREAD,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": 1795341960 + number,
        "incomplete_at": None,
        "role": "assistant" if by_assistant else "user",
        "content": [
            {
                "type": "text",
                "text": {
                    "value": text + "【4:0†report.pdf】" if cited else text,
                    "annotations": [citation] if cited else [],
                },
            }
        ],
        "assistant_id": "asst_bench0000000000000000000" if by_assistant else None,
        "run_id": RUN if by_assistant else None,
        "attachments": [],
        "metadata": {},
    }


def message_pages(count: int) -> dict[str, bytes]:
    """Give all pages of a thread of ``count`` messages, by their ``after`` cursor (``""`` for the first)."""
    chance = random.Random(1)
    pages = {}
    cursor = ""
    for start in range(0, count, PAGE_SIZE):
        data = [
            message(number, " ".join(chance.choices(WORDS, k=chance.randint(10, 150))))
            for number in range(start, min(start + PAGE_SIZE, count))
        ]
        page = {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"],
            "last_id": data[-1]["id"],
            "has_more": start + PAGE_SIZE < count,
        }
        pages[cursor] = encode(page)
        cursor = str(data[-1]["id"])
    return pages


def created(path: str, number: int) -> dict[str, object]:
    """Give the answer to a POST that creates something at ``path``."""
    thread_id = path.split("/")[3] if path.count("/") > 3 else THREAD
    if path.endswith("/messages"):
        return message(number, "Noted.") | {"thread_id": thread_id}
    if path.endswith("/runs"):
        return run(f"run_{number:024d}", thread_id, "queued")
    if path.endswith("/cancel"):
        return run(path.split("/")[5], thread_id, "cancelling")
    if path.endswith("/threads"):
        return {
            "id": f"thread_{number:024d}",
            "object": "thread",
            "created_at": 1795341959,
            "metadata": {},
            "tool_resources": {},
        }
    return {
        "id": f"asst_{number:024d}",
        "object": "assistant",
        "created_at": 1795341959,
        "name": "benchmark",
        "description": None,
        "model": "gpt-4o",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "top_p": 1.0,
        "temperature": 1.0,
        "response_format": "auto",
    }


def error(status: int, message_text: str) -> bytes:
    """Give the API's error object."""
    kind = "rate_limit_exceeded" if status == 429 else "server_error"
    return encode({"error": {"message": message_text, "type": kind, "param": None, "code": kind}})
