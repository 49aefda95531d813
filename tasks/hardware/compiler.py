"""Parses compiler error messages."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """Returns the line of a compiler's output that describes the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), next(iter(lines), type(error).__name__))
