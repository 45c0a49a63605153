"""What ``import asyncassist`` offers, and what it costs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import asyncassist
from asyncassist import errors

OTHERS = {
    *("AsyncClient", "RawClient", "RawResponse", "Listing", "NO_KEY", "Timeout", "PollPolicy", "RetryPolicy"),
    *("UNSET", "Assistant", "Message", "Page", "Run", "RunStep", "Thread", "ToolOutput", "from_dict", "to_dict"),
    *("RunStream", "StreamEvent", "ThreadEvent", "RunEvent", "RunStepEvent", "RunStepDeltaEvent", "MessageEvent"),
    *("MessageDeltaEvent", "DoneEvent", "UnknownEvent"),
    *("tool", "Tool", "Toolset", "PendingCall", "Allow", "Deny", "Replace", "Conversation", "Reply", "TurnStream"),
    *("Job", "JobResult", "JobResults", "BatchProgress", "Ledger", "check_jobs", "read_jobs"),
    *("Limits", "AttemptRequest", "AttemptResponse", "CallNext", "Middleware"),
    "cancel_on_disconnect",
}


def run(code: str) -> object:
    """Run code in a fresh interpreter and return the JSON it prints."""
    package = Path(asyncassist.__file__ or "").parents[1]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_the_public_names() -> None:
    """Every error, the client with what it takes and gives, and the models met most; no name more."""
    assert set(asyncassist.__all__) == {*errors.__all__, *OTHERS}
    assert len(asyncassist.__all__) == len(set(asyncassist.__all__))


@pytest.mark.parametrize("module", ["asyncassist", "asyncassist.errors", "asyncassist.models"])
def test_public_names_are_sorted(module: str) -> None:
    """Constants first, then the rest, each by the alphabet of ASCII."""
    names = import_module(module).__all__

    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name))


def test_type_checkers_see_the_same_names() -> None:
    """The imports for type checkers name what is loaded at run time, from the same modules."""
    tree = ast.parse(Path(asyncassist.__file__ or "").read_text("utf-8"))
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "asyncassist" in str(node.module)
    ]

    modules = {"errors", "models"}
    assert {alias.name for node in imports for alias in node.names} == {*asyncassist.__all__, *modules}
    for node in imports:
        for alias in node.names:
            module = import_module(str(node.module))
            assert getattr(module, alias.name) is getattr(asyncassist, alias.name)


@pytest.mark.parametrize("name", asyncassist.__all__)
def test_a_name_loads_when_it_is_used(name: str) -> None:
    """Asked for again after it was forgotten, it is the same object."""
    first = getattr(asyncassist, name)
    del vars(asyncassist)[name]

    assert getattr(asyncassist, name) is first
    assert vars(asyncassist)[name] is first


def test_dir_lists_the_public_names() -> None:
    """For people at a prompt: all of them before anything is loaded, and nothing of the machinery ever."""
    expected = sorted([*asyncassist.__all__, "__version__", "errors", "models"])

    assert run("import asyncassist, json; print(json.dumps(dir(asyncassist)))") == expected
    assert dir(asyncassist) == expected
    assert dir(asyncassist.models) == sorted(asyncassist.models.__all__)


def test_every_name_of_dir_is_there() -> None:
    """The modules load on first use as the classes do, and the version is the installed one."""
    code = "import asyncassist, json; print(json.dumps([n for n in dir(asyncassist) if not hasattr(asyncassist, n)]))"

    assert run(code) == []
    assert run("import asyncassist, json; print(json.dumps(asyncassist.models.Run.__name__))") == "Run"
    assert run("import asyncassist, json; print(json.dumps(asyncassist.errors.UsageError.__name__))") == "UsageError"


@pytest.mark.skipif("ASYNCASSIST_INSTALLED" not in os.environ, reason="the checkout may not be what is installed")
def test_the_version_is_that_of_the_package() -> None:
    """There is one version, in the code; the package takes it from there."""
    assert asyncassist.__version__ == version("asyncassist")


def test_modules_load_as_attributes() -> None:
    """Also where something else has loaded them before."""
    load = vars(asyncassist)["__getattr__"]
    assert load("errors") is errors


def test_an_unknown_name_is_an_attribute_error() -> None:
    """In Python's own words."""
    with pytest.raises(AttributeError, match=r"^module 'asyncassist' has no attribute 'Client'$"):
        asyncassist.Client  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Client'"):
        from asyncassist import Client  # type: ignore[attr-defined]  # noqa: F401


def test_a_star_import_brings_all_names() -> None:
    """And nothing private."""
    names = run("from asyncassist import *; import json; print(json.dumps([n for n in dir() if n[0] != '_']))")

    assert isinstance(names, list)
    assert set(names) - {"json"} == set(asyncassist.__all__)


HEAVY = (
    *("httpx", "httpcore", "h11", "anyio", "attr", "attrs", "cattr", "cattrs"),
    *("msgspec", "asyncio", "ssl", "docstring_parser"),
)


@pytest.mark.parametrize("code", ["import asyncassist", "import asyncassist; asyncassist.UsageError; dir(asyncassist)"])
def test_importing_costs_next_to_nothing(code: str) -> None:
    """Neither the HTTP library nor the models' machinery is loaded, for the package and for its errors."""
    loaded = run(
        f"import sys, json; before = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )

    assert isinstance(loaded, list)
    assert "asyncassist" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_the_models_load_without_the_http_library() -> None:
    """A program that only stores objects needs no client."""
    loaded = run("import asyncassist, sys, json; asyncassist.Run; print(json.dumps(sorted(sys.modules)))")

    assert isinstance(loaded, list)
    assert "attr" in loaded
    assert not {"httpx", "httpcore", "anyio", "cattrs"} & set(loaded)


def test_a_first_call_loads_only_what_it_needs() -> None:
    """Making a client and reading a run loads no models of messages, steps and streams, and nothing used seldom."""
    code = """
import json, sys
import httpx
before = set(sys.modules)
from asyncassist import AsyncClient, Run
from asyncassist._wire.converter import structure
AsyncClient(api_key="key", base_url="http://127.0.0.1")
structure({"id": "run_1", "thread_id": "thread_1", "status": "queued", "tools": [{"type": "function"}]}, Run)
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    loaded = run(code)

    assert isinstance(loaded, list)
    models = {name.rpartition(".")[2] for name in loaded if name.startswith("asyncassist.models.")}
    assert models == {"_base", "runs", "tools"}
    assert not {"importlib.metadata", "html", "encodings.idna", "asyncassist.tools", "asyncassist.server"} & set(loaded)
