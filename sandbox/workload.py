"""Workload: an application that changes "Usuários" in every way an application can, and counts what it committed.

Needs Postgres 17 or newer, which can say whether a value is stored out of line.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final

import psycopg
from psycopg import errors

from sandbox import usuarios
from sandbox.process import SandboxFault

_PAUSE_SECONDS = 0.05
_LOST_TO_OTHERS = (errors.DeadlockDetected, errors.UniqueViolation, errors.SerializationFailure)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was committed, by the server's own word: rows by kind of change, transactions by kind.

    `updated` counts rows that kept their key, `key_changes` those that did not. `toast_unchanged` counts the rows among
    both whose bio lies out of line and was left alone, so that the log does not hold it. `conflicts` counts
    transactions lost to a deadlock or to a key that another worker took first.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    key_changes: int = 0
    toast_unchanged: int = 0
    transactions: int = 0
    rolled_back: int = 0
    savepoints_rolled_back: int = 0
    conflicts: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """Rows changed."""
        return self.inserted + self.updated + self.deleted + self.key_changes


@dataclass(frozen=True, slots=True)
class Workload:
    """An application of one or several workers, each with its own connection.

    Workers own disjoint keys, or with `overlapping` fight for the same ones. One worker with one seed, one table and a
    limit of changes always does the same. `weights` says how often each kind of `KINDS` is chosen. `now` is the time
    that new rows are dated by. `changes_per_second` holds all workers together back to a pace.
    """

    dsn: str
    random: Random
    now: datetime
    workers: int = 1
    overlapping: bool = False
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    changes_per_second: float | None = None
    clock: Callable[[], float] = time.monotonic

    def run(
        self,
        *,
        seconds: float | None = None,
        changes: int | None = None,
        stop: threading.Event | None = None,
        progress: Callable[[Tally], None] | None = None,
        progress_seconds: float = 1.0,
    ) -> Tally:
        """Work until the time is over, so many rows are changed (or a transaction more a worker), or `stop` is set."""
        if seconds is None and changes is None and stop is None:
            raise SandboxFault("the workload would never end", hint="give it seconds, changes or an event to stop it")
        halt = threading.Event()
        with ExitStack() as stack:
            sessions = self._sessions(stack)
            started = self.clock()

            def is_over() -> bool:
                return (
                    halt.is_set()
                    or (stop is not None and stop.is_set())
                    or (seconds is not None and self.clock() - started >= seconds)
                    or (changes is not None and sum(session.changes for session in sessions) >= changes)
                )

            def work(session: _Session) -> None:
                while not is_over():
                    session.transact(session.random.choices(kinds, weights)[0])
                    while self._is_ahead(session, self.clock() - started) and not is_over():
                        halt.wait(_PAUSE_SECONDS)

            kinds, weights = list(self.weights), list(self.weights.values())
            pool = stack.enter_context(ThreadPoolExecutor(self.workers, thread_name_prefix="workload"))
            stack.callback(halt.set)
            running = {pool.submit(work, session) for session in sessions}
            while running:
                done, running = wait(running, timeout=progress_seconds, return_when=FIRST_EXCEPTION)
                for worker in done:
                    worker.result()
                if progress is not None:
                    progress(_total(sessions))
        return _total(sessions)

    def _sessions(self, stack: ExitStack) -> list[_Session]:
        connections = [
            stack.enter_context(psycopg.connect(self.dsn, autocommit=True, application_name="workload"))
            for _ in range(self.workers)
        ]
        keys = [key for (key,) in connections[0].execute('SELECT id FROM "Usuários" ORDER BY id')]
        next_number = max(map(usuarios.number, keys), default=0) + 1
        shared = _Keys(keys)
        sessions = []
        for index, connection in enumerate(connections):
            own = shared
            if not self.overlapping:
                own = _Keys(key for key in keys if usuarios.number(key) % self.workers == index)
            fresh = map(usuarios.key, itertools.count(next_number + index, self.workers))
            sessions.append(_Session(connection, Random(self.random.getrandbits(64)), self.now, own, fresh))
        return sessions

    def _is_ahead(self, session: _Session, seconds: float) -> bool:
        return (
            self.changes_per_second is not None and session.changes * self.workers > self.changes_per_second * seconds
        )


class _Keys:
    """Which keys live and which are dead, as far as we know: with several workers on the same ones, a guess."""

    def __init__(self, live: Iterable[int]) -> None:
        self._lock = threading.Lock()
        self._keys: tuple[list[int], list[int]] = ([], [])
        self._places: dict[int, tuple[bool, int]] = {}
        for key in live:
            self.put(key, lives=True)

    def put(self, key: int, *, lives: bool | None) -> bool | None:
        """Note that a key lives, is dead, or (None) never was; returns what was known before."""
        with self._lock:
            known = self._places.pop(key, None)
            if known is not None:
                lived, place = known
                last = self._keys[lived].pop()
                if last != key:
                    self._keys[lived][place] = last
                    self._places[last] = (lived, place)
            if lives is not None:
                self._places[key] = (lives, len(self._keys[lives]))
                self._keys[lives].append(key)
            return None if known is None else known[0]

    def choose(self, random: Random, *, lives: bool) -> int | None:
        """Any key that lives, or any dead one; None where there is none."""
        with self._lock:
            return random.choice(self._keys[lives]) if self._keys[lives] else None


_IS_TOASTED = "pg_column_toast_chunk_id(bio) IS NOT NULL"
_UPDATE = f'UPDATE "Usuários" SET {{}} WHERE id = {{}} RETURNING {_IS_TOASTED}'  # noqa: S608 - constants alone
_CHANGE_KEY = _UPDATE.format("id = %s", "%s")
_UPDATE_MANY = _UPDATE.format("ativo = NOT ativo, atualizado_em = %s", "ANY(%s)")
_INSERT = f'INSERT INTO "Usuários" VALUES ({", ".join(["%s"] * len(usuarios.COLUMNS))})'  # noqa: S608
_UPSERT = (
    'INSERT INTO "Usuários" (id, nome, saldo, bio) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE'  # noqa: S608
    f" SET nome = excluded.nome, saldo = excluded.saldo RETURNING xmax = 0, {_IS_TOASTED}"  # xmax is 0 in a new row
)
_DELETE_MANY = 'DELETE FROM "Usuários" WHERE id = ANY(%s) RETURNING id'
_SMALL: Final[tuple[tuple[str, ...], ...]] = (
    ("nome", "atualizado_em"),
    ("saldo",),
    ("email", "telefone"),
    ("ativo", "criado_em"),
    ("endereco", "tags"),
    ("data_nascimento", "cpf", "uuid_externo"),
)
_SET = {
    columns: _UPDATE.format(", ".join(f"{column} = %s" for column in columns), "%s") for columns in (*_SMALL, ("bio",))
}


class _Session:
    """One worker: what it changes in the transaction at hand, and what it has committed."""

    def __init__(
        self, connection: psycopg.Connection, random: Random, now: datetime, keys: _Keys, fresh: Iterator[int]
    ) -> None:
        self.random = random
        # Every name from the start: a mapping that never grows can be read by another thread.
        self.committed = Counter({name: 0 for name in Tally.__slots__ if name != "kinds"})
        self.kinds = Counter(dict.fromkeys(KINDS, 0))
        self._connection = connection
        self._now = now
        self._keys = keys
        self._fresh = fresh
        self._pending: Counter[str] = Counter()
        self._undo: list[tuple[int, bool | None]] = []

    @property
    def changes(self) -> int:
        """Rows changed and committed."""
        return sum(self.committed[name] for name in ("inserted", "updated", "deleted", "key_changes"))

    def transact(self, kind: str) -> None:
        """Do one transaction of the kind; one that is lost to another worker leaves no trace but its count."""
        self._pending, self._undo = Counter(), []
        try:
            if kind in _TRANSACTIONS:
                with self._connection.transaction(force_rollback=kind == "roll_back"):
                    KINDS[kind](self)
            else:
                KINDS[kind](self)
        except _LOST_TO_OTHERS:
            self._take_back(0, Counter(conflicts=1))
        except psycopg.OperationalError as error:
            raise SandboxFault(
                f"the workload lost the database ({type(error).__name__})",
                hint="its last transaction may be committed and is not counted",
            ) from error
        else:
            self.kinds[kind] += bool(self._pending)
            if kind == "roll_back":
                self._take_back(0, Counter(rolled_back=1))
            else:
                self._pending["transactions"] += 1
        self.committed.update(self._pending)

    def undone(self, work: Callable[[_Session], None]) -> None:
        """Do some work behind a savepoint and roll back to it."""
        mark, pending = len(self._undo), self._pending.copy()
        with self._connection.transaction(force_rollback=True):
            work(self)
        self._take_back(mark, pending + Counter(savepoints_rolled_back=1))

    def fresh(self) -> int:
        """A key that never was."""
        return next(self._fresh)

    def live(self) -> int | None:
        """A key that lives; None, which no row has, where there is none."""
        return self._keys.choose(self.random, lives=True)

    def live_many(self, count: int) -> list[int]:
        """Some keys that live, each once."""
        return list({key for key in (self.live() for _ in range(count)) if key is not None})

    def dead(self) -> int:
        """A key whose row was deleted, or one that never was where there is none."""
        key = self._keys.choose(self.random, lives=False)
        return self.fresh() if key is None else key

    def insert(self, *keys: int) -> None:
        """Insert whole rows."""
        rows = [usuarios.usuario(self.random, key, self._now) for key in keys]
        with self._connection.cursor() as cursor:
            if len(rows) == 1:
                cursor.execute(_INSERT, rows[0])
            else:
                cursor.executemany(_INSERT, rows)
            self._pending["inserted"] += cursor.rowcount
        self._note(keys, lives=True)

    def update(self, key: int | None, columns: tuple[str, ...], *, to_null: bool = False) -> None:
        """Set some columns of a row to new values, or to NULL."""
        values = [None if to_null else usuarios.VALUES[column](self.random, self._now) for column in columns]
        self._count("updated", self._execute(_SET[columns], (*values, key)))

    def update_many(self, count: int) -> None:
        """Set small columns of many rows in one statement."""
        self._count("updated", self._execute(_UPDATE_MANY, (self._now.replace(tzinfo=None), self.live_many(count))))

    def upsert(self, key: int | None) -> None:
        """Insert a row, or update it where it is there already."""
        key = self.fresh() if key is None else key
        values = (usuarios.VALUES[column](self.random, self._now) for column in ("nome", "saldo", "bio"))
        ((is_new, is_toasted),) = self._execute(_UPSERT, (key, *values))
        self._count("inserted" if is_new else "updated", [(is_toasted,)])
        self._note([key], lives=True)

    def change_key(self, old: int | None, new: int) -> None:
        """Give a row another key and leave the rest alone."""
        rows = self._execute(_CHANGE_KEY, (new, old))
        self._count("key_changes", rows)
        if rows and old is not None:
            self._note([old], lives=False)
            self._note([new], lives=True)

    def delete(self, *keys: int | None) -> None:
        """Delete rows."""
        rows = self._execute(_DELETE_MANY, (list(keys),))
        self._pending["deleted"] += len(rows)
        self._note((key for (key,) in rows), lives=False)

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def _count(self, name: str, rows: list[tuple[Any, ...]]) -> None:
        self._pending[name] += len(rows)
        self._pending["toast_unchanged"] += sum(is_toasted for (is_toasted,) in rows)

    def _note(self, keys: Iterable[int], *, lives: bool) -> None:
        self._undo.extend([(key, self._keys.put(key, lives=lives)) for key in keys])

    def _take_back(self, mark: int, pending: Counter[str]) -> None:
        for key, lived in reversed(self._undo[mark:]):
            self._keys.put(key, lives=lived)
        del self._undo[mark:]
        self._pending = pending


def _update_small(session: _Session) -> None:
    session.update(session.live(), session.random.choice(_SMALL))


def _update_null(session: _Session) -> None:
    session.update(session.live(), session.random.choice((*_SMALL, ("bio",))), to_null=True)


def _same_key(session: _Session) -> None:
    key = session.fresh()
    session.insert(key)
    session.update(key, ("saldo",))
    session.delete(key)
    session.insert(key)


def _multi_row(session: _Session) -> None:
    size = session.random.randrange(10, 200)
    session.insert(*(session.fresh() for _ in range(size // 5)))
    session.update_many(size // 3)
    session.delete(*session.live_many(size // 8))
    for _ in range(size // 3):
        KINDS[session.random.choice(_SINGLE)](session)
    _same_key(session)


def _savepoint(session: _Session) -> None:
    _update_small(session)
    session.undone(_multi_row)
    session.insert(session.fresh())


KINDS: Final[Mapping[str, Callable[[_Session], None]]] = {
    "insert": lambda session: session.insert(session.fresh()),
    "update_small": _update_small,
    "update_bio": lambda session: session.update(session.live(), ("bio",)),
    "update_null": _update_null,
    "upsert": lambda session: session.upsert(session.random.choice((session.live(), session.dead()))),
    "delete": lambda session: session.delete(session.live()),
    "reinsert_deleted": lambda session: session.insert(session.dead()),
    "change_key": lambda session: session.change_key(session.live(), session.fresh()),
    "change_key_to_deleted": lambda session: session.change_key(session.live(), session.dead()),
    "same_key": _same_key,
    "multi_row": _multi_row,
    "savepoint": _savepoint,
    "roll_back": _multi_row,
}
"""What an application does in one transaction; the last four take several statements."""

_TRANSACTIONS = frozenset({"same_key", "multi_row", "savepoint", "roll_back"})
_SINGLE = tuple(kind for kind in KINDS if kind not in _TRANSACTIONS)

WEIGHTS: Final[Mapping[str, int]] = {
    "insert": 20,
    "update_small": 30,
    "update_bio": 8,
    "update_null": 5,
    "upsert": 8,
    "delete": 8,
    "reinsert_deleted": 5,
    "change_key": 4,
    "change_key_to_deleted": 3,
    "same_key": 2,
    "multi_row": 4,
    "savepoint": 2,
    "roll_back": 2,
}
"""How often each kind is chosen unless a workload says otherwise."""


def _total(sessions: Iterable[_Session]) -> Tally:
    committed: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for session in sessions:
        committed.update(session.committed)
        kinds.update(session.kinds)
    return Tally(**committed, kinds=dict(kinds))
