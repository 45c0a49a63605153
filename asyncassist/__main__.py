"""``python -m asyncassist``."""

from __future__ import annotations

import sys

from asyncassist.cli import main

if __name__ == "__main__":
    sys.exit(main())
