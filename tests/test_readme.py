"""The README's recipes, run as they stand there, against the embedded server."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from asyncassist import AsyncClient
from asyncassist.server import LocalServer, load_script

README = Path(__file__).parent.parent / "README.md"
OPERATIONS = 23


def recipe(name: str) -> str:
    """Return the code of a recipe."""
    found = re.search(rf"<!-- recipe: {name} -->\n```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found, f"README.md has no recipe {name!r}"
    return found[1]


def load(name: str) -> ModuleType:
    """Return a recipe as a module."""
    module = ModuleType(f"recipe_{name}")
    sys.modules[module.__name__] = module
    exec(compile(recipe(name), f"README.md, recipe {name}", "exec"), module.__dict__)
    return module


@asynccontextmanager
async def _serve() -> AsyncIterator[str]:
    async with LocalServer() as local, local.on_port() as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run the embedded server on a port, in a thread with an event loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_serve()) as url:
        yield url


@pytest.fixture(autouse=True)
def _where_the_server_is(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCASSIST_BASE_URL", server)
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "test")


@pytest.mark.parametrize("name", ["script", "stream", "tools", "conversation", "batch", "local", "scripted"])
def test_scripts_run_as_they_stand(name: str, tmp_path: Path) -> None:
    """The script recipes run to their end and print what the assistant said."""
    (tmp_path / "script.py").write_text(recipe(name), "utf-8")
    command = [sys.executable, "-W", "error", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert "offline" in done.stdout


def test_fastapi_answers_questions() -> None:
    """The FastAPI recipe starts a conversation and answers on it."""
    app = load("fastapi").app

    async def use() -> str:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:
                thread_id = (await browser.post("/threads")).json()["thread_id"]
                missing = await browser.post("/threads/thread_none/ask", params={"question": "Hello"})
                assert missing.status_code == 404
                answer = await browser.post(f"/threads/{thread_id}/ask", params={"question": "Hello"})
                return str(answer.raise_for_status().json()["answer"])

    assert "Hello" in asyncio.run(use())


def test_aiohttp_lists_messages() -> None:
    """The aiohttp recipe lists a conversation, and knows when there is none."""
    from aiohttp.test_utils import TestClient, TestServer

    app = load("aiohttp").app

    async def use() -> tuple[Any, int]:
        async with AsyncClient() as client:
            thread = await client.create_thread(messages=[{"role": "user", "content": "Hello"}])
        async with TestClient(TestServer(app)) as browser:
            found = await (await browser.get(f"/threads/{thread.id}/messages")).json()
            return found, (await browser.get("/threads/thread_none/messages")).status

    assert asyncio.run(use()) == ([{"role": "user", "text": "Hello"}], 404)


def test_the_tests_of_the_recipe_pass(pytester: pytest.Pytester) -> None:
    """The testing recipe's tests pass on both event loops."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(test_recipe=recipe("testing"))
    is_installed = "asyncassist" in entry_points(group="pytest11").names
    plugin = [] if is_installed else ["-p", "asyncassist.testing.plugin"]
    pytester.runpytest_subprocess("-p", "no:asyncio", *plugin).assert_outcomes(passed=4)


def test_the_script_is_one(tmp_path: Path) -> None:
    """The rules that are shown can be loaded as they stand."""
    found = re.search(r"```yaml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found
    (tmp_path / "rules.yaml").write_text(found[1], "utf-8")
    assert 3 == len(load_script(tmp_path / "rules.yaml"))


def test_the_table_names_every_operation() -> None:
    """The README's table has a row for each operation, naming a method that exists."""
    rows = re.findall(r"^\| (\w+) \| `(\w+)\(.*?\)` \| `.+` \|$", README.read_text("utf-8"), re.MULTILINE)

    assert len(rows) == OPERATIONS
    assert all(callable(getattr(AsyncClient, method)) for _, method in rows)
