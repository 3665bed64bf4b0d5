"""Who owns a cell: the one notion behind skipping, continuing, sharing a sweep.

The plan and the doctor.

A cell is run in attempts, 1, 2, ... Who begins attempt n writes the param `IDENTITY/n` of the
registry run, with himself as its value; how it ended is the param `IDENTITY/n/end`. MLflow lets a
param be written once: of those who race for one, it takes the first and refuses the others. So an
attempt has one owner, and either its owner ends it or, when the owner is dead, someone else does,
never both: an owner that comes back from a long sleep finds its attempt ended and stops.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from experiments import owners
from experiments.owners import Owner
from experiments.tracking.store import Store, whole

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
_FRESH_SECONDS = owners.SILENCE_SECONDS / 2  # nobody takes over from who was heard this recently
_BEAT = "beat."


class Taken(Exception):
    """The cell is being run by someone who lives."""

    def __init__(self, owner: Owner):
        super().__init__(f"{owner} is running this cell")
        self.owner = owner


class Finished(Exception):
    """The cell has been finished since one last looked."""


class Lost(Exception):
    """Someone else has taken over: this process was silent for so long that it counted as dead."""


@dataclass(frozen=True)
class Claim:
    """Attempt number `attempt` (>= 1) at a cell."""

    store: Store
    identity: str
    attempt: int

    @property
    def name(self) -> str:
        """Its key in the registry, and the tag `attempt` of its run."""
        return f"{self.identity}/{self.attempt}"

    def end(self, how: str, *, wait: bool = True) -> str:
        """Write how the attempt ended, unless that is written already; how it did end.

        Unless `wait`, it may raise Away at once.
        """
        client = self.store.client if wait else self.store.impatient
        return _write_once(client, self.store.registry, f"{self.name}/end", how)

    def require(self, *, wait: bool) -> None:
        """Raise Lost when someone else has ended the attempt.

        Asks the store only after this process was silent; unless `wait`, once.
        """
        silent = time.time() - _heart(self.store).heard > _FRESH_SECONDS
        client = self.store.client if wait else self.store.impatient
        if silent and client.get_run(self.store.registry).data.params.get(f"{self.name}/end"):
            raise Lost(
                f"attempt {self.attempt} at this cell was ended by another process while this one "
                "slept"
            )


@dataclass(frozen=True)
class Registry:
    """What is known of all claims of an experiment, as of one moment."""

    params: dict[str, str]
    beats: dict[str, float]

    def last(self, identity: str) -> int:
        """The number of the latest attempt at a cell; 0 when there was none."""
        attempt = 0
        while f"{identity}/{attempt + 1}" in self.params:
            attempt += 1
        return attempt

    def owner(self, name: str) -> Owner | None:
        """Who began the attempt `name`."""
        return owners.parse(self.params[name]) if name in self.params else None

    def end(self, name: str) -> str:
        """How the attempt `name` ended: finished, failed, killed or lost.

        Empty while it has not.
        """
        return self.params.get(f"{name}/end", "")

    def lives(self, owner: Owner) -> bool:
        """Whether `owner` lives, as far as can be told from here."""
        return owner.lives(self.beats.get(owner.token, 0.0))

    def abandoned(self) -> dict[str, Owner]:
        """The attempts that have not ended, and whose owner is dead."""
        begun = {
            n: owners.parse(value) for n, value in self.params.items() if not n.endswith("/end")
        }
        return {n: owner for n, owner in begun.items() if not self.end(n) and not self.lives(owner)}

    def runner(self, identity: str) -> Owner | None:
        """Who is running the cell, and lives; None when nobody is."""
        name = f"{identity}/{self.last(identity)}"
        owner = self.owner(name)
        return owner if owner and not self.end(name) and self.lives(owner) else None


def read(store: Store) -> Registry:
    """The registry as it is now."""
    if not store.registry:
        return Registry({}, {})
    data = store.client.get_run(store.registry).data
    beats = {
        key.removeprefix(_BEAT): float(value)
        for key, value in data.tags.items()
        if key.startswith(_BEAT)
    }
    return Registry(data.params, beats)


def claim(store: Store, identity: str, *, again: bool = False) -> Claim:
    """The next attempt at a cell, owned by this process.

    Raises Taken when a living process is at it, and, unless `again`, Finished when a finished run
    of it is in the store.
    """
    while True:
        registry = read(store)
        last = Claim(store, identity, registry.last(identity))
        if runner := registry.runner(identity):
            raise Taken(runner)
        if last.attempt and not registry.end(last.name):
            last.end("lost")  # its owner is dead; if it did end in this very moment, that stands
            continue
        owner = registry.owner(last.name)
        closing = f"tags.attempt = '{last.name}' and attributes.status = 'RUNNING'"
        if (
            owner
            and registry.end(last.name) == "finished"
            and next(store.search(closing), None) is not None
        ):
            # All but the status is written. Should the process die now, whoever marks its run as
            # killed writes the status, too.
            raise Taken(owner)
        condition = f"tags.identity = '{identity}' and attributes.status = 'FINISHED'"
        if not again and next(store.search(condition), None) is not None:
            raise Finished
        mine = Claim(store, identity, last.attempt + 1)
        value = owners.me().text()
        if _write_once(store.client, store.registry, mine.name, value) == value:
            _heart(store)
            return mine


def _write_once(client: MlflowClient, registry: str, key: str, value: str) -> str:
    """The value of a param of the registry: `value`, unless another was written before."""
    try:
        client.log_param(registry, key, value)
    except MlflowException:
        written = client.get_run(registry).data.params.get(key)
        if written is None:
            raise
        return written
    return value


class _Heart(threading.Thread):
    """Says in the store, every now and then, that this process lives."""

    def __init__(self, store: Store):
        super().__init__(name="heartbeat", daemon=True)
        self.store, self.token, self.heard = store, owners.me().token, time.time()

    def run(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            now = time.time()
            try:
                self.store.impatient.set_tag(self.store.registry, _BEAT + self.token, f"{now:.0f}")
                if (
                    now - self.heard < _FRESH_SECONDS
                ):  # once silent, a process has to ask whether it still owns
                    self.heard = now
            except (
                Exception
            ) as error:  # whatever it is, the run itself will meet it, and knows what to do
                log.debug("no heartbeat: %s", error)


_hearts: dict[tuple[int, str, str], _Heart] = {}


def _heart(store: Store) -> _Heart:
    """The heart of this process in this store, beating.

    One per process, since threads do not survive a fork.
    """
    key = (os.getpid(), store.uri, store.registry)
    if key not in _hearts:
        _hearts[key] = _Heart(store)
        with whole():
            _hearts[key].start()
    return _hearts[key]
