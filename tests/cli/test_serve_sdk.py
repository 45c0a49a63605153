"""The openai package against ``asyncassist serve``, as a process."""

# The package marks its whole beta part as deprecated.
# pyright: reportDeprecated=false

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import openai
import pytest

from .serving import Served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]


def test_the_sdk_runs_and_streams(tmp_path: Path) -> None:
    """The openai package creates, polls and streams runs against it, with nothing changed but the URL."""
    rules = tmp_path / "rules.yaml"
    rules.write_text('- {when: poem, say: Roses are red.}\n- {say: "What?"}\n', "utf-8")
    with Served("--script", str(rules)) as server, openai.OpenAI(base_url=server.url, api_key="any") as client:
        assistant = client.beta.assistants.create(model="m")
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "a poem, please"}])
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
        client.beta.threads.messages.create(thread.id, role="user", content="again")
        with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
            pieces = list(stream.text_deltas)
        texts = [message.content[0].text.value for message in client.beta.threads.messages.list(thread.id, order="asc")]
        code, _, errors = server.end(signal.SIGINT)

    assert run.status == "completed"
    assert pieces == ["What?"]
    assert texts == ["a poem, please", "Roses are red.", "again", "What?"]
    assert (code, errors) == (0, "")
    assert f"offline, {rules}: 2 rules" in "\n".join(server.banner)


def test_the_sdk_finds_it_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables in the banner are all that a program needs; a key that is not let in is an error of its own."""
    with Served("--api-key", "right") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "right")
        with openai.OpenAI() as client:
            assert client.beta.assistants.list().data == []
        with openai.OpenAI(api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                client.beta.assistants.list()
