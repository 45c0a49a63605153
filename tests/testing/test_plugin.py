"""The pytest plugin, in small projects as users have them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import asyncassist.testing

# A nested run in this process forgets what it has imported first, and these do not bear being imported twice.
for name in asyncassist.testing.__all__:
    getattr(asyncassist.testing, name)

INI = """
[pytest]
addopts = --strict-markers
filterwarnings = error
"""

USE = """
async def use(server, client):
    server.replies("Fine.")
    assistant = await client.create_assistant(model="m")
    thread = await client.create_thread(messages=[{"role": "user", "content": "How are you?"}])
    run = await client.run_and_wait(thread.id, assistant_id=assistant.id)
    assert await client.run_text(run) == "Fine."
    assert thread.id == "thread_1"
"""


def project(pytester: pytest.Pytester, tests: str) -> list[str]:
    """Write a project, and return the arguments that load the plugin where it is not installed with the package."""
    pytester.makeini(INI)
    pytester.makepyfile(use=USE, test_it="import pytest\nfrom use import use\n" + tests)
    is_installed = "asyncassist" in entry_points(group="pytest11").names
    return [] if is_installed else ["-p", "asyncassist.testing.plugin"]


ON_ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module")
async def loop_that_goes_on(anyio_backend):
    yield

async def test_alone(assist_server, assist_client):
    await use(assist_server, assist_client)

async def test_in_a_loop_that_goes_on(loop_that_goes_on, assist_server, assist_client):
    await use(assist_server, assist_client)

async def test_afterwards(loop_that_goes_on, assist_server, assist_client):
    await use(assist_server, assist_client)

async def test_that_leaves_a_stream(assist_server, assist_client):
    assistant = await assist_client.create_assistant(model="m")
    async with assist_client.stream_thread_and_run(assistant_id=assistant.id) as stream:
        async for event in stream:
            raise LookupError
"""


def test_with_the_anyio_plugin(pytester: pytest.Pytester) -> None:
    """Each test has a server of its own on asyncio and trio, whichever loop it gets, and leaves nothing behind."""
    arguments = project(pytester, ON_ANYIO)
    result = pytester.runpytest_subprocess("-p", "no:asyncio", *arguments)

    result.assert_outcomes(passed=6, failed=2)
    result.stdout.fnmatch_lines(
        ["*LookupError*", "POST /assistants (create_assistant): 200", "POST /threads/runs *200"]
    )
    assert "Warning" not in result.stdout.str()


ON_PYTEST_ASYNCIO = """
import asyncio

{mark}
async def test_function_loop(assist_server, assist_client):
    await use(assist_server, assist_client)

@pytest.mark.asyncio(loop_scope="session")
async def test_session_loop(assist_server, assist_client):
    await use(assist_server, assist_client)
    async with assist_server.on_port() as url:
        assert url.startswith("http://127.0.0.1:")

@pytest.mark.asyncio(loop_scope="session")
async def test_session_loop_again(assist_server, assist_client):
    await use(assist_server, assist_client)
    assert [task.get_name() for task in asyncio.all_tasks()].count("asyncassist.testing") == 1

@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_is_left():
    assert all(task.get_name() != "asyncassist.testing" for task in asyncio.all_tasks())

{mark}
async def test_that_fails(assist_server, assist_client):
    assistant = await assist_client.create_assistant(model="m")
    async with assist_client.stream_thread_and_run(assistant_id=assistant.id) as stream:
        async for event in stream:
            raise LookupError
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_with_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    """In both modes and every scope of the loop, each test has a server of its own, and no task of it is left."""
    pytest.importorskip("pytest_asyncio")
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    arguments = project(pytester, ON_PYTEST_ASYNCIO.format(mark=mark))
    scope = "asyncio_default_fixture_loop_scope=function"
    result = pytester.runpytest_subprocess("--asyncio-mode", mode, "-o", scope, *arguments)

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*LookupError*"])
    assert "Warning" not in result.stdout.str()


IN_CLASSES = """
import asyncio

pytestmark = pytest.mark.assist_server("From the module.", now=1_800_000_000, run_seconds=30)

def said(server):
    async def say():
        client = server.client()
        assistant = await client.create_assistant(model="m")
        run = await client.create_thread_and_run(assistant_id=assistant.id)
        done = await client.wait_for_run(run.thread_id, run.id)
        return await client.run_text(done), run.expires_at
    return asyncio.run(say())

def test_module(assist_server):
    assert said(assist_server) == ("From the module.", 1_800_000_030)

@pytest.mark.assist_server("From the test.", now=1_900_000_000)
def test_test(assist_server):
    assert said(assist_server) == ("From the test.", 1_900_000_030)

@pytest.mark.assist_server(nonsense=1)
def test_wrong(assist_server):
    pass

def test_client(assist_server, assist_client):
    async def check():
        await assist_client.create_thread()
    asyncio.run(check())
    assert assist_server.requests_for("create_thread")
"""


def test_the_marker_has_the_arguments(pytester: pytest.Pytester) -> None:
    """The nearest marker counts for each argument; a test needs no plugin for async tests."""
    arguments = project(pytester, IN_CLASSES)
    result = pytester.runpytest_inprocess("-p", "no:asyncio", *arguments)

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*TypeError: *nonsense*"])


def test_without_the_extra(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that does not use the fixtures notices nothing; one that does is told what to install."""

    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'starlette'", name="starlette")

    monkeypatch.delitem(vars(asyncassist.testing), "FakeServer")
    monkeypatch.setattr(asyncassist.testing, "import_module", fail)
    arguments = project(pytester, "def test_other(): pass\ndef test_mine(assist_client): pass")
    result = pytester.runpytest_inprocess("-p", "no:asyncio", *arguments)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*cannot be had*starlette*pip install 'asyncassist?server?'*"])
    assert "Traceback" not in result.stdout.str()


LIGHT = """
import json, sys
import pytest
before = set(sys.modules)
import asyncassist.testing.plugin
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_the_plugin_is_light() -> None:
    """Loading the plugin, which happens in every project, imports nothing beside pytest."""
    package = asyncassist.testing.__file__.partition("/asyncassist/testing")[0]
    code = f"import sys; sys.path.append({package!r})\n{LIGHT}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == ["asyncassist"]
