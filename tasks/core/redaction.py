"""Removes credentials from texts that are shown or recorded: those in addresses, and signatures in their queries."""

from __future__ import annotations

import re

HIDDEN = "***"
LONGEST = 2000  # characters of a credential
# `user:password@` after a scheme, where a password may contain any character but blanks and quotes, and `token@`.
# Paths turn `//` into `/`. In models:/name@alias, the name is none; a number after the colon is a port.
USER_INFO = re.compile(
    rf"\b(?!models:)([a-z][a-z0-9+.-]{{0,20}}:/{{1,2}})"
    rf"(?:[^\s/:@'\"<>]{{0,{LONGEST}}}:(?!\d+(?:/|\s|$))[^\s'\"<>]{{0,{LONGEST}}}@|[^\s/?#'\"<>]{{1,{LONGEST}}}@)",
    re.IGNORECASE,
)
WORDS = "signature|sig|token|secret|password|passwd|credential|key|auth"
QUERY = re.compile(rf"([?&][\w.%-]{{0,50}}(?:{WORDS})[\w.%-]{{0,50}}=)[^\s&#'\"<>]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Returns the text with asterisks in place of the credentials in its addresses."""
    return QUERY.sub(rf"\1{HIDDEN}", USER_INFO.sub(rf"\1{HIDDEN}@", text))
