"""Fixtures of commands that are ended from outside."""

from helpers.dying import as_calm, begin, calm, interruptible, served  # noqa: F401
