"""SIGKILL again and again while messages and runs are created: what of the acknowledged is there afterwards."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import raw
from .api_server import ApiServer, about_the_disk, new_file, start
from .harness import Check, Result, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = 100
QUICK_KILLS = 5
WRITERS = 8
EARLIEST, LATEST = 0.1, 1.0
AGAIN, LATEST_AGAIN = 0.25, 0.2
LOCKED_SECONDS = 10.0
SCRIPT = """\
- pattern: "[02468]$"
  say: "An answer that takes its time, to {message}"
  delay: 0.15
- say: "An answer, to {message}"
  delay: 0.02
"""
ENDED = ("completed", "failed")


@dataclass
class Known:
    """What the server acknowledged of one thread, in this order."""

    messages: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)


@dataclass
class Writer:
    """One connection at a time, and threads that nobody else writes to."""

    number: int
    threads: dict[str, Known] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    def write(self, port: int, assistant: str) -> None:
        """Create threads, messages and runs until the server is gone; note what was acknowledged."""
        self.touched = set()
        chance = random.Random(self.number)
        try:
            with raw.Connection(port) as connection:
                own = chance.sample(sorted(self.threads), min(2, len(self.threads)))
                while True:
                    if not own or (len(own) < 5 and chance.random() < 0.1):
                        own.append(self._create(connection, "/threads", {})["id"])
                        self.threads[own[-1]] = Known()
                    self._write_to(connection, chance.choice(own), assistant, is_run=chance.random() < 0.3)
        except (OSError, json.JSONDecodeError):
            pass

    def _write_to(self, connection: raw.Connection, thread: str, assistant: str, *, is_run: bool) -> None:
        self.sent += 1
        marker = f"{self.number}-{self.sent}"
        self.touched.add(thread)
        known = self.threads[thread]
        if is_run:
            body = {"assistant_id": assistant, "metadata": {"marker": marker}}
            if answer := self._create(connection, f"/threads/{thread}/runs", body):
                known.runs[answer["id"]] = marker
        elif answer := self._create(connection, f"/threads/{thread}/messages", {"role": "user", "content": marker}):
            known.messages[answer["id"]] = marker

    def _create(self, connection: raw.Connection, path: str, body: object) -> dict[str, Any]:
        status, answer = connection.ask("POST", path, body)
        if status == 200:
            return answer  # type: ignore[no-any-return]
        message: str = answer["error"]["message"]
        self.refused["locked" if "active" in message or "while a run" in message else f"{status}: {message}"] += 1
        return {}


@dataclass
class Findings:
    """What was not as it should be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    not_ended: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)


def run(*, quick: bool, repetitions: int) -> Result:
    """Kill the server, look, and go on with the same file. Measured once: every kill is a repetition."""
    kills = QUICK_KILLS if quick else KILLS
    result = Result(
        scenario="server_kills",
        title=f"{kills} times SIGKILL during load",
        quick=quick,
        method=(
            f"`asyncassist serve --db FILE` and {WRITERS} connections, each with threads of its own, that create "
            "messages, runs (whose answers take 20 or 150 ms) and threads as fast as they are answered, and note "
            f"what was answered with 200. The server is killed at a random moment {EARLIEST:g} to {LATEST:g} s after "
            "the load began, and started again with the same file; one time in four killed once more within "
            f"{LATEST_AGAIN * 1000:g} ms, while it goes on with the runs it has found. Then all threads written to "
            f"meanwhile, and in the end all there are, have to take one more message within {LOCKED_SECONDS:g} s, or "
            "count as locked; what was noted is compared with their listings, in order and content; all runs have to "
            f"have ended, with one answer each. A power cut is not tried. The file is on {about_the_disk()}."
        ),
    )
    writers = [Writer(number) for number in range(WRITERS)]
    findings = Findings()
    chance = random.Random(0)
    with new_file() as path:
        script = Path(path).with_name("script.yaml")
        script.write_text(SCRIPT)
        options = ("--db", path, "--script", str(script))
        assistant = ""
        for number in range(kills + 1):
            began = time.perf_counter()
            server = start(*options)
            restart = time.perf_counter() - began
            try:
                with raw.Connection(server.port) as connection:
                    if not assistant:
                        assistant = connection.get("POST", "/assistants", {"model": "any"})["id"]
                    is_last = number == kills
                    looked = {
                        id: writer.threads[id]
                        for writer in writers
                        for id in (writer.threads if is_last else writer.touched)
                    }
                    unlock = look(connection, looked, findings, with_endings=is_last)
                if not is_last:
                    life = chance.uniform(EARLIEST, LATEST)
                    result.samples.append(
                        {"restart_s": restart, "unlock_s": unlock}
                        | let_write(server.port, writers, assistant, life, server.end)
                    )
            finally:
                kill(server, findings)
            if chance.random() < AGAIN:
                server = start(*options)
                time.sleep(chance.uniform(0, LATEST_AGAIN))
                kill(server, findings)
        with sqlite3.connect(path) as database:
            (integrity,) = database.execute("PRAGMA integrity_check").fetchone()
        database.close()
    known = [known for writer in writers for known in writer.threads.values()]
    refused: Counter[str] = sum((writer.refused for writer in writers), Counter())
    acknowledged = len(known) + sum(len(each.messages) + len(each.runs) for each in known)
    result.rows.append(
        {
            "kills": kills,
            "acknowledged": acknowledged,
            "threads": len(known),
            "messages": sum(len(each.messages) for each in known),
            "runs": sum(len(each.runs) for each in known),
            "refused, thread locked by its run": refused.pop("locked", 0),
            "refused otherwise": sum(refused.values()),
            "lost": len(findings.lost),
            "twice": len(findings.doubled),
            "threads locked": len(findings.locked),
            "runs not ended": len(findings.not_ended),
            "runs' endings": ", ".join(f"{count:,} {name}" for name, count in sorted(findings.endings.items())),
            "else": len(findings.odd),
            "longest until unlocked (s)": max((sample["unlock_s"] for sample in result.samples), default=None),
            "file": integrity,
        }
    )
    result.samples.append({"refused": dict(refused)} | {name: [*value][:50] for name, value in vars(findings).items()})
    result.checks = [
        Check(f"{kills} kills: acknowledged writes lost", len(findings.lost), 0, "at most", f"of {acknowledged:,}"),
        Check(
            f"{kills} kills: threads locked after the restart", len(findings.locked), 0, "at most", f"of {len(known):,}"
        ),
        Check(f"{kills} kills: writes twice", len(findings.doubled), 0, "at most", ""),
        Check(f"{kills} kills: runs not ended, or not with one answer", len(findings.not_ended), 0, "at most", ""),
        Check(
            f"{kills} kills: other faults",
            len(findings.odd) + sum(refused.values()) + (integrity != "ok"),
            0,
            "at most",
            "",
        ),
    ]
    return result


def kill(server: ApiServer, findings: Findings) -> None:
    """Kill a server, unless that has been done, and look at what it has logged."""
    server.end(kill=True)
    if logged := server.logged():
        findings.odd.append(f"log: {logged[-500:]}")
    server.log.close()


def let_write(port: int, writers: list[Writer], assistant: str, life: float, end: Any) -> Sample:
    """Let all writers write, and kill the server in the midst of it."""
    before = sum(writer.sent for writer in writers)
    threads = [threading.Thread(target=writer.write, args=(port, assistant)) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(life)
    end(kill=True)
    for thread in threads:
        thread.join()
    return {"life_s": life, "sent": sum(writer.sent for writer in writers) - before}


def look(connection: raw.Connection, threads: dict[str, Known], findings: Findings, *, with_endings: bool) -> float:
    """Compare threads with what is known of them; give the seconds until the last one took a message again."""
    began = time.monotonic()
    locked = dict(threads)
    while locked and time.monotonic() - began < LOCKED_SECONDS:
        for id, known in list(locked.items()):
            status, answer = connection.ask(
                "POST", f"/threads/{id}/messages", {"role": "user", "content": f"still {id}"}
            )
            if status == 200:
                known.messages[answer["id"]] = f"still {id}"
                del locked[id]
            elif status == 404:
                findings.lost += [f"thread {id}", *known.messages, *known.runs]
                del locked[id], threads[id]
    findings.locked += locked
    seconds = time.monotonic() - began
    for id, known in threads.items():
        messages = list(listing(connection, f"/threads/{id}/messages"))
        texts = {message["id"]: message["content"][0]["text"]["value"] for message in messages if message["content"]}
        findings.lost += [f"message {key}" for key, text in known.messages.items() if texts.get(key) != text]
        ordered = [key for key in texts if key in known.messages]
        if ordered != [key for key in known.messages if key in texts]:
            findings.odd.append(f"order of {id}")
        asked = Counter(message["content"][0]["text"]["value"] for message in messages if message["role"] == "user")
        findings.doubled += [text for text, count in asked.items() if count > 1 and not text.startswith("still")]
        look_at_runs(connection, id, known, messages, findings, with_endings=with_endings)
    return seconds


def look_at_runs(
    connection: raw.Connection,
    id: str,
    known: Known,
    messages: list[dict[str, Any]],
    findings: Findings,
    *,
    with_endings: bool,
) -> None:
    """Compare a thread's runs with what is known of them. All have ended: the thread takes messages."""
    runs = {each["id"]: each for each in listing(connection, f"/threads/{id}/runs")}
    for key, marker in known.runs.items():
        if key not in runs or runs[key]["metadata"] != {"marker": marker}:
            findings.lost.append(f"run {key}")
    answers = Counter(message["run_id"] for message in messages if message["role"] == "assistant")
    for key, each in runs.items():
        if with_endings:
            findings.endings[each["status"]] += 1
        if each["status"] not in ENDED or (each["status"] == "completed" and answers[key] != 1):
            findings.not_ended.append(f"run {key}: {each['status']}, {answers[key]} answers")
    findings.odd += [
        f"message {message['id']}: {message.get('status')}"
        for message in messages
        if message["role"] == "assistant" and message.get("status") not in ("completed", "incomplete")
    ]


def listing(connection: raw.Connection, path: str) -> Iterator[dict[str, Any]]:
    """Give all items of a listing, oldest first."""
    after = ""
    while True:
        page = connection.get("GET", f"{path}?limit=100&order=asc{after}")
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"
