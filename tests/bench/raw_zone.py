"""A raw zone to measure the compactor with: changes of "Usuários" as our publisher writes them, filed by the real
consumer; the same every time.

A user's name, e-mail, numbers and identity stay; address, balance, labels and text are new with each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import msgspec

from cdc import raw
from cdc.raw import BatchRecord
from cdc_consumer.batch import OpenBatch, Place, build
from cdc_consumer.filing import file_record
from cdc_consumer.stream import Record
from tests.bench.events import TABLES
from tests.raw_zone import PLACEHOLDER, MemoryObjects

STREAM = "usuarios-20261121T120000Z"
SHARD = "shardId-000000000000"
BATCH_BYTES = 8 * 1024 * 1024
_ARRIVED_AT = datetime(2026, 11, 21, 12, 0, 3, 471000, tzinfo=UTC)
_COMMITTED_US = 1_795_262_403_123_000
_ENCODE = msgspec.json.Encoder().encode


@dataclass
class Users:
    """The users that live at the source, and the changes that happen to them; `lsn` is where its log ends.

    `is_one_transaction`: all of them have one commit time.
    """

    seed: int = 1
    is_one_transaction: bool = False
    lsn: int = 141_926_872
    live: list[int] = field(default_factory=list)
    ever: int = 0

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)

    def snapshot(self, count: int) -> Iterator[bytes]:
        """New users, as the backfill reads them."""
        for _ in range(count):
            yield self._event("r", self._new())

    def changes(self, count: int, ops: str, unchanged: float = 0) -> Iterator[bytes]:
        """So many changes, their ops drawn out of `ops`; of the updates so large a part leaves `bio` unchanged."""
        for _ in range(count):
            op = self._chance.choice(ops) if self.live else "c"
            if op == "c":
                yield self._event(op, self._new())
                continue
            place = self._chance.randrange(len(self.live))
            key = self.live[place]
            if op == "d":
                self.live[place] = self.live[-1]
                self.live.pop()
            yield self._event(op, key, is_bio_unchanged=op == "u" and self._chance.random() < unchanged)

    def _new(self) -> int:
        self.ever += 1
        self.live.append(self.ever)
        return self.ever

    def _event(self, op: str, key: int, *, is_bio_unchanged: bool = False) -> bytes:
        self.lsn += 120
        row = None if op == "d" else self._row(key)
        if row is not None and is_bio_unchanged:
            row["bio"] = PLACEHOLDER
        at_us = _COMMITTED_US + (0 if self.is_one_transaction else self.lsn)
        return _ENCODE(
            {
                "before": {"id": key} | dict.fromkeys(_COLUMNS) if op == "d" else None,
                "after": row,
                "source": _source(op, self.lsn, at_us),
                "transaction": None,
                "op": op,
                "ts_ms": at_us // 1000,
                "ts_us": at_us,
                "ts_ns": at_us * 1000,
            }
        )

    def _row(self, key: int) -> dict[str, object]:
        chance, person = self._chance, Random(key)
        cpf = f"{person.randrange(10**11):011d}"
        return {
            "id": key,
            "nome": f"José da Conceição {person.getrandbits(32):x}",
            "email": f"u{key}@exemplo.com.br",
            "cpf": f"{cpf[:3]}.{cpf[3:6]}.{cpf[6:9]}-{cpf[9:]}",
            "telefone": f"+55 11 9{person.randrange(10**8):08d}",
            "data_nascimento": person.randrange(20_000),
            "endereco": f'{{"rua":"Av. São João {chance.randrange(2000)}","geo":{{"lat":-23.54,"lon":-46.63}}}}',
            "saldo": f"{chance.randrange(10**7) / 100:.2f}",
            "ativo": True,
            "criado_em": "2024-03-10T15:34:56.789012Z",
            "atualizado_em": 1_710_074_096_789_012 + self.lsn,
            "tags": ["vip", "a b", None],
            "uuid_externo": f"{person.getrandbits(128):032x}",
            "bio": f"{chance.getrandbits(252):063x}",
        }


_COLUMNS = (
    "nome", "email", "cpf", "telefone", "data_nascimento", "endereco", "saldo", "ativo", "criado_em", "atualizado_em",
    "tags", "uuid_externo", "bio",
)  # fmt: skip


def _source(op: str, lsn: int, at_us: int) -> dict[str, object]:
    return {
        "version": "3.6.3.usuarios-cdc",
        "connector": "postgresql",
        "name": "cdc",
        "ts_ms": at_us // 1000,
        "snapshot": "true" if op == "r" else "false",
        "db": "usuarios",
        "sequence": f'["{lsn - 56}","{lsn}"]',
        "ts_us": at_us,
        "ts_ns": at_us * 1000,
        "schema": "public",
        "table": "Usuários",
        "txId": 930 + lsn,
        "lsn": lsn,
        "xmin": None,
        "origin": None,
        "origin_lsn": None,
    }


class Zone:
    """A raw zone in memory, filled by the consumer's own code as the thread of one shard does it."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.records: list[BatchRecord] = []
        self.lines_bytes = 0
        self._after = "0"
        self._batch = OpenBatch()
        tip = raw.tip_path(STREAM, SHARD)
        self.objects.put(tip, msgspec.json.encode(raw.Tip(None, str(raw.START))))

    def write(self, events: Iterable[bytes]) -> None:
        """File some records, and write what is left of the last batch."""
        for number, event in enumerate(events, int(self._after) + 1):
            filed = file_record(SHARD, Record(str(number), _ARRIVED_AT, event), TABLES)
            if self._batch.size_bytes + filed.size_bytes > BATCH_BYTES:
                self._finish()
            self._batch.add(filed)
        self._finish()

    def bodies(self) -> list[tuple[raw.ObjectRef, bytes]]:
        """All raw objects, in order."""
        return [(ref, self.objects.get(ref.path)) for record in self.records for ref in record.objects]

    def _finish(self) -> None:
        if not self._batch.records:
            return
        self.lines_bytes += self._batch.size_bytes
        built = build(Place(STREAM, SHARD, self._after), self._batch, TABLES.values())
        for path, body in (*built.objects, (built.path, built.body)):
            self.objects.put_new(path, body)
        self.records.append(built.record)
        self._after, self._batch = built.record.upto, OpenBatch()
