"""What answers of a server tell about it: which kind it is, and whether it knows an operation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RETIRED", "Answer", "Verdict", "dialect_of", "verdict_on"]

Verdict: TypeAlias = Literal["there", "missing", "refused", "fails", "unclear"]
"""``refused``: the key is not accepted; ``unclear``: no answer came."""

RETIRED = "OpenAI's own host, which stopped serving this API on 2026-08-26"

_AZURE_HOST = re.compile(r"(.+\.)?(services\.ai|openai|cognitiveservices)\.azure\.(com|us|cn)|.+\.api\.azureml\.ms")
_OPENAI_HOST = re.compile(r"(.+\.)?api\.openai\.com")
_OWN_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]+")
# What differs between two answers of a server that say the same.
_VARYING = re.compile(r"/[^\s\"')]*|\b(?:asst|thread|msg|run|step|req)_\w+|[0-9a-fA-F-]{12,}")


@frozen
class Answer:
    """What came back for one request.

    Attributes:
        status: None where no answer came; ``message`` says why.
        is_api: whether it is what the API answers, and not, say, a page.
        code, message, body: of an answer that is an error.
        headers: names in lower case.
        hint: what to do where no answer came.
    """

    status: int | None
    code: str | None = None
    message: str = ""
    body: str = ""
    headers: Mapping[str, str] = field(factory=dict[str, str])
    is_api: bool = True
    hint: str = ""


def verdict_on(answer: Answer, unknown: Answer) -> Verdict:
    """Judge whether a server knows an operation.

    Args:
        answer: to a request for a thing that cannot be there.
        unknown: to a request for a path that no server has.
    """
    if not answer.is_api:
        return "missing"
    match answer.status:
        case None:
            return "unclear"
        case 401 | 403:
            return "refused"
        case 405 | 501:
            return "missing"
        case 404:
            # A server that knows the operation misses the thing; else it says what it says of any path.
            return "missing" if _likened(answer) == _likened(unknown) else "there"
        case status if status >= 500:
            return "fails"
        case _:
            return "there"


def dialect_of(host: str, path: str, listing: Answer, unknown: Answer) -> str:
    """Say what kind of server this is.

    Args:
        host, path: of the base URL, in lower case.
        listing: the answer to the listing of assistants.
        unknown: to a request for a path that no server has.
    """
    headers = {**unknown.headers, **listing.headers}
    if _OPENAI_HOST.fullmatch(host):
        return RETIRED
    if _AZURE_HOST.fullmatch(host) or "/api/projects/" in f"{path}/":
        return "Azure AI Foundry" if "/api/projects/" in f"{path}/" else "Azure OpenAI"
    if any(name.startswith("x-litellm") for name in headers):
        return "LiteLLM"
    if unknown.code == "unknown_url" and _OWN_REQUEST_ID.fullmatch(headers.get("x-request-id", "")):
        return "asyncassist's own server"
    if "apim-request-id" in headers or "x-ms-region" in headers:
        return "a service of Azure"
    server = headers.get("server", "")
    return f"unknown (server: {server})" if server else "unknown"


def _likened(answer: Answer) -> tuple[object, ...]:
    text = answer.message or answer.body
    return answer.status, answer.code, _VARYING.sub("*", text).lower()[:500]
