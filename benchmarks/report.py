"""Write ``RESULTS.md`` and the plot from the results at hand."""

from __future__ import annotations

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
    "bombs",
)
PLOT = "get_run.png"


def write(directory: Path = RESULTS, table: Path = HERE / "RESULTS.md") -> None:
    """Write the table of everything measured, and the plot beside the data."""
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
        if result["scenario"] == "get_run":
            plot(result, directory / PLOT)
            lines += ["", f"![CPU per call by number of tasks]({directory.name}/{PLOT})"]
        lines += ["", _environment(result["environment"])]
    table.write_text("\n".join(lines) + "\n")


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the CPU per call over the number of tasks."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    rows = [row for row in result["rows"] if "TLS" not in row["tasks"]]
    sizes = [int(row["tasks"].replace(",", "")) for row in rows]
    for column in rows[0]:
        if column.endswith("(µs)"):
            values = [math.nan if row[column] is None else row[column] / 1000 for row in rows]
            axes.plot(sizes, values, marker="o", label=column.removesuffix(" (µs)"))
    axes.set(xscale="log", yscale="log", xlabel="tasks calling at once", ylabel="client CPU per call (ms)")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_yticks([0.2, 0.5, 1, 2, 5, 10, 20, 50], ["0.2", "0.5", "1", "2", "5", "10", "20", "50"])
    axes.set_title("CPU of one typed get_run")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


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
