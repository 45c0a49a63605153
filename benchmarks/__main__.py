"""``python -m benchmarks NAME... [--quick]``: measure, keep the results, rewrite the report."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from . import report
from .harness import HERE, RESULTS


def main() -> None:
    """Run the scenarios named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure asyncassist beside the SDK.")
    parser.add_argument("names", nargs="*", choices=[*report.ORDER, "all", "report"], metavar="NAME", default=["all"])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    parser.add_argument("--repetitions", type=int, help="processes per figure (5, quick 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    parser.add_argument("--table", type=Path, help="where the report goes (RESULTS.md beside this module)")
    options = parser.parse_args()
    names = [name for name in report.ORDER if name in options.names or "all" in options.names]
    for name in names:
        scenario = importlib.import_module(f"benchmarks.{name}")
        result = scenario.run(quick=options.quick, repetitions=options.repetitions or (3 if options.quick else 5))
        result.save(options.results)
        for check in result.checks:
            reached = "not measured" if check.reached is None else f"{check.reached:.3g}"
            verdict = {True: "met", False: "NOT MET", None: "-"}[check.met]
            print(f"{check.what}: {reached} ({check.kind} {check.bound:g} {check.unit}): {verdict}", flush=True)
    report.write(options.results, options.table or HERE / "RESULTS.md")


if __name__ == "__main__":
    main()
