"""Whether a process lives: here, from the process table; elsewhere, from what it said and when."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from experiments import owners


def test_this_process_lives_and_is_read_as_it_was_written():
    me = owners.me()
    assert me.lives()
    assert owners.parse(me.text()) == me
    assert owners.me().token == me.token


def test_a_process_that_has_ended_is_dead_even_before_anybody_has_asked_for_its_end():
    import psutil

    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(
        owners.me(), pid=process.pid, started=psutil.Process(process.pid).create_time(), token="t"
    )
    assert owner.lives()
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not owner.lives()
    process.communicate()
    assert not owner.lives()


def test_another_process_with_the_same_id_is_not_it():
    assert not replace(owners.me(), started=owners.me().started - 3600).lives()


@pytest.mark.parametrize(
    ("said", "heard", "lives"), [(0, 0, True), (70, 0, True), (70, 70, False), (3600, 10, True)]
)
def test_of_a_process_elsewhere_only_its_word_is_known(said, heard, lives):
    """Seconds ago; `heard` 0 is now."""
    now = time.time()
    owner = replace(owners.me(), place="elsewhere", pid=1, said=now - said)
    assert owner.lives(now - heard) == lives
