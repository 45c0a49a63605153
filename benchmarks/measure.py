"""The measuring process: reads one job from standard input, writes one line of JSON."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Run ``benchmarks.<scenario>.measure`` with the job's arguments."""
    scenario = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    sample = scenario.measure(**json.load(sys.stdin))
    print(json.dumps(sample))


if __name__ == "__main__":
    main()
