"""Functions a model may call: their definitions, and the answers to the calls."""

from __future__ import annotations

from asyncassist.tools._parameters import ArgumentsError
from asyncassist.tools.approval import Allow, BeforeCall, Deny, PendingCall, Replace, Verdict
from asyncassist.tools.functions import Tool, tool
from asyncassist.tools.rounds import ToolRounds
from asyncassist.tools.toolsets import Toolset

__all__ = [
    "Allow",
    "ArgumentsError",
    "BeforeCall",
    "Deny",
    "PendingCall",
    "Replace",
    "Tool",
    "ToolRounds",
    "Toolset",
    "Verdict",
    "tool",
]
