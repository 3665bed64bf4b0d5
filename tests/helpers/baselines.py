"""What tests of bundled results share."""

from __future__ import annotations

HASHES = {
    "order_hash": "order0",
    "init_hash": "init0",
    "paddle_version": "3.3.1",
    "git_commit": "c" * 40,
}
MACHINE = {"processor": "a processor", "kernel": "stock", "git_dirty": "false"}
