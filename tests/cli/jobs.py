"""Batches for tests: files of jobs, their results, and what there is on the server."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from .processes import run


def write_jobs(*questions: str, **fields: Any) -> None:
    """Write jobs.jsonl, with an assistant that is there."""
    url = os.environ["ASYNCASSIST_BASE_URL"]
    assistant = httpx.post(f"{url}/assistants", json={"model": "m"}).raise_for_status().json()["id"]
    lines = [
        json.dumps(
            {
                "id": f"job {number}",
                "assistant_id": assistant,
                "messages": [{"role": "user", "content": question}],
                **fields,
            }
        )
        for number, question in enumerate(questions)
    ]
    Path("jobs.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def results(name: str = "results.jsonl") -> dict[str, Any]:
    lines = Path(name).read_text("utf-8").splitlines()
    found = {line["id"]: line for line in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found


def statuses_on_the_server() -> Counter[str]:
    """The statuses of all runs there are."""
    with httpx.Client(base_url=os.environ["ASYNCASSIST_BASE_URL"]) as http:
        counts: Counter[str] = Counter()
        after: dict[str, Any] = {}
        while True:
            page = http.get("/threads", params={"limit": 100, **after}).json()
            for thread in page["data"]:
                counts.update(each["status"] for each in http.get(f"/threads/{thread['id']}/runs").json()["data"])
            if not page["has_more"]:
                return counts
            after = {"after": page["last_id"]}


def status() -> Any:
    done = run("batch", "status", "ledger", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BATCH = ["batch", "jobs.jsonl", "-o", "results.jsonl", "--ledger", "ledger"]
