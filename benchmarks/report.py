"""Write ``RESULTS.md`` and the plots from the results at hand."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

from .harness import HERE, RESULTS

ORDER = (
    "get_run",
    "listing",
    "first_call",
    "polling",
    "streaming",
    "first_delta",
    "many_streams",
    "cancels",
    "cancelled_runs",
    "faults",
    "creates",
    "limited",
    "crowded",
    "batch",
    "batch_kills",
    "ledger",
    "bombs",
    "server_writes",
    "server_growth",
    "server_start",
    "server_kills",
    "server_streams",
    "server_hostile",
)
PLOTS = {"get_run": "CPU per call by number of tasks", "server_growth": "Server CPU per operation by what it holds"}
"""Scenarios whose module has a `plot`, and what it shows."""


def write(directory: Path = RESULTS, table: Path = HERE / "RESULTS.md") -> None:
    """Write the table of everything measured, and the plots beside the data."""
    results = [json.loads(path.read_text()) for name in ORDER if (path := directory / f"{name}.json").exists()]
    lines = ["# Results", "", "Written by `python -m benchmarks`; how it is measured is told in `README.md`.", ""]
    lines += ["| target | reached | asked | met |", "|---|--:|--:|---|"]
    for result in results:
        for check in result["checks"]:
            met = {True: "yes", False: "**no**", None: "not measured"}[check["met"]]
            asked = f"{check['kind']} {_number(check['bound'])} {check['unit']}".rstrip()
            what = check["what"] + (" (quick)" if result["quick"] else "")
            lines.append(f"| {what} | {_number(check['reached'])} | {asked} | {met} |")
    for result in results:
        lines += ["", f"## {result['title']}", "", result["method"]]
        if result["quick"]:
            lines += ["", "A quick run: small sizes, few repetitions."]
        lines += ["", *_table(result["rows"])]
        if (shown := PLOTS.get(result["scenario"])) is not None:
            picture = f"{result['scenario']}.png"
            importlib.import_module(f"benchmarks.{result['scenario']}").plot(result, directory / picture)
            lines += ["", f"![{shown}]({directory.name}/{picture})"]
        lines += ["", _environment(result["environment"])]
    table.write_text("\n".join(lines) + "\n")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(rows[0])
    numeric = [all(isinstance(row[column], (int, float, type(None))) for row in rows) for column in columns]
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("--:" if right else "---" for right in numeric) + "|",
    ]
    return lines + ["| " + " | ".join(_number(row[column]) for column in columns) + " |" for row in rows]


def _number(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _environment(environment: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    where = f"Python {environment['python']}, {environment['system']} {environment['machine']}"
    return f"{where}, {environment['cores']} cores; {packages}."
