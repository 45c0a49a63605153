"""What the server answers when it does not do what it was asked, in the API's error envelope.

The words of the messages that programs are known to look for (an active run, a missing object, a finished run) are the
API's own; ``asyncassist._wire`` on the client's side recognises the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "ApiError",
    "active_run",
    "body_too_large",
    "body_too_slow",
    "invalid_beta",
    "invalid_json",
    "invalid_type",
    "invalid_value",
    "locked_thread",
    "method_not_allowed",
    "missing_key",
    "missing_parameter",
    "not_cancellable",
    "not_found",
    "not_offered",
    "not_running",
    "out_of_bounds",
    "outputs_mismatch",
    "outputs_not_wanted",
    "run_deleted",
    "server_failed",
    "too_many_bodies",
    "unknown_parameter",
    "unknown_route",
    "wrong_key",
]

INVALID_REQUEST = "invalid_request_error"


class ApiError(Exception):
    """Ends a request with an error status.

    Attributes:
        status: the HTTP status.
        message: what is wrong, for people.
        type, param, code: the other fields of the API's error object.
        headers: response headers to add.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = INVALID_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def error(self) -> dict[str, object]:
        """The API's error object, ready for JSON."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    def envelope(self) -> dict[str, object]:
        """The body of the response, ready for JSON."""
        return {"error": self.error()}


# 400: the request itself


def invalid_json() -> ApiError:
    return ApiError(400, "The body of the request is not valid JSON.", code="invalid_json")


def invalid_type(param: str, expected: str, got: str) -> ApiError:
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def invalid_value(param: str, got: str, supported: Collection[str]) -> ApiError:
    names = ", ".join(f"'{name}'" for name in supported)
    return ApiError(400, f"Invalid value: '{got}'. Supported values are: {names}.", param=param, code="invalid_value")


def missing_parameter(param: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def out_of_bounds(param: str, what: str, expected: str, got: object, code: str) -> ApiError:
    """A length or a number outside its limits: ``what`` is wrong with it, what was ``expected``, what came."""
    message = f"Invalid '{param}': {what}. Expected {expected}, but got {got} instead."
    return ApiError(400, message, param=param, code=code)


def unknown_parameter(param: str) -> ApiError:
    return ApiError(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def invalid_beta() -> ApiError:
    message = (
        "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
        "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
    )
    return ApiError(400, message, code="invalid_beta")


def not_offered(param: str, message: str) -> ApiError:
    """The API has it, this server does not."""
    return ApiError(400, message, param=param, code="unsupported_parameter")


# 400: the state of things


def active_run(thread_id: str, run_id: str) -> ApiError:
    return ApiError(400, f"Thread {thread_id} already has an active run {run_id}.")


def locked_thread(thread_id: str, run_id: str) -> ApiError:
    return ApiError(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")


def not_cancellable(status: str) -> ApiError:
    return ApiError(400, f"Cannot cancel run with status '{status}'.")


def outputs_not_wanted(status: str) -> ApiError:
    return ApiError(400, f'Runs in status "{status}" do not accept tool outputs.')


def outputs_mismatch(expected: Collection[str], got: Collection[str]) -> ApiError:
    message = f"Expected tool outputs for call_ids {list(expected)}, got {list(got)}"
    return ApiError(400, message, param="tool_outputs")


# Other statuses


def missing_key() -> ApiError:
    message = "No API key came with the request. Send it in a header: Authorization: Bearer KEY"
    return ApiError(401, message, headers={"www-authenticate": "Bearer"})


def wrong_key() -> ApiError:
    message = "Incorrect API key provided."
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def not_found(kind: str, id: str) -> ApiError:
    return ApiError(404, f"No {kind} found with id '{id}'.")


def run_deleted(run_id: str) -> ApiError:
    return ApiError(404, f"Run {run_id} was deleted with its thread.")


def unknown_route(method: str, path: str) -> ApiError:
    return ApiError(404, f"Invalid URL ({method} {path})", code="unknown_url")


def method_not_allowed(method: str, path: str, allowed: str) -> ApiError:
    message = f"Not allowed to {method} on {path}. Allowed: {allowed}."
    return ApiError(405, message, code="method_not_supported", headers={"allow": allowed})


def body_too_large(limit: int) -> ApiError:
    return ApiError(413, f"The body of the request is larger than {limit} bytes.", code="request_too_large")


def body_too_slow() -> ApiError:
    # Where the rest of the body would begin a next request nobody could read it as one.
    message = "The body of the request came too slowly, or not at all."
    return ApiError(408, message, code="request_timeout", headers={"connection": "close"})


def server_failed() -> ApiError:
    return ApiError(500, "The server had an error while processing your request.", type="server_error")


def too_many_bodies() -> ApiError:
    message = "The server is receiving too much at once. Try again later."
    return ApiError(503, message, type="server_error", headers={"retry-after": "1", "connection": "close"})


def not_running() -> ApiError:
    message = "The server cannot run anything: it was not entered with `async with`, or is closing."
    return ApiError(503, message, type="server_error", headers={"retry-after": "1"})
