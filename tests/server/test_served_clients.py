"""Other people's clients against ``asyncassist serve``, a process of its own with its objects in a file."""

# The SDK marks all of this API as deprecated.
# pyright: reportDeprecated=false

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import openai
import pytest

from .test_azure import Handler, agents_client, answer, asked, weather
from .test_clients import outputs_for, use_everything
from .test_sdk_streams import Handler as SdkHandler
from .test_sdk_streams import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

SCRIPT = """
- when: weather
  calls:
    - - {name: weather, arguments: {city: Paris}}
      - {name: weather, arguments: {city: Rome}}
  say: "{outputs[0]}, {outputs[1]}"
- say: Hello to you
"""


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[str]:
    """Run the command until the block ends, and give its URL."""
    script = folder / "script.yaml"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "asyncassist", "serve", "--port", "0", "--api-key", "local"]
    command += ["--script", str(script), "--db", str(folder / "assistants.sqlite3"), *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"http://\S+", said)
            assert found is not None, said
            yield found[0]
        finally:
            process.terminate()
            process.communicate(timeout=20)
    assert process.returncode == 0


async def test_the_openai_sdk(tmp_path: Path) -> None:
    """Every operation, a tool loop and a stream work with the SDK as it comes, strictly taken."""
    with serve(tmp_path, "--strict") as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="local", max_retries=0) as sdk:
            await use_everything(sdk)
            runs = sdk.beta.threads.runs
            run = await runs.create_and_poll(**await ask(sdk, "weather?"))
            handler = SdkHandler()
            outputs = [outputs_for(run, f"{index}")[index] for index in range(2)]
            async with runs.submit_tool_outputs_stream(
                run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs, event_handler=handler
            ) as stream:
                await stream.until_done()

    assert "0, 1" in handler.done
    assert handler.events[-1] == "thread.run.completed"


async def test_microsofts_client(tmp_path: Path) -> None:
    """Its tool loop, its streams and its listings work with the client as it comes."""
    handler = Handler()
    with serve(tmp_path) as url:
        async with agents_client(url) as agents:
            agents.enable_auto_function_calls({weather})
            run = await agents.runs.create_and_process(**await asked(agents, "weather?"), polling_interval=0)
            text = await answer(agents, run.thread_id)
            async with await agents.runs.stream(**await asked(agents, "weather?"), event_handler=handler) as stream:
                texts = [returned async for _, _, returned in stream if returned]
            threads = [thread.id async for thread in agents.threads.list(limit=1)]

    assert (run.status, text, "".join(texts)) == ("completed", *["sun in Paris, sun in Rome"] * 2)
    assert handler.errors == []
    assert len(threads) == 2
