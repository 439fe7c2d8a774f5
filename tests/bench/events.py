"""Events to measure with: changes of "Usuários" as Debezium writes them, about 985 bytes each, the same every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

TABLES = {("public", "Usuários"): "usuarios"}
_OPS = "u" * 7 + "c" * 2 + "d"


def events(count: int, seed: int = 1) -> Iterator[bytes]:
    """So many changes: seven tenths updates, one tenth deletes."""
    chance = Random(seed)
    for number in range(count):
        op = _OPS[number % len(_OPS)]
        row = _row(chance, number)
        value = {
            "before": {"id": number} if op != "c" else None,
            "after": None if op == "d" else row,
            "source": _source(number),
            "transaction": None,
            "op": op,
            "ts_ms": 1_795_262_403_300 + number,
            "ts_us": (1_795_262_403_300 + number) * 1000,
            "ts_ns": (1_795_262_403_300 + number) * 1_000_000,
        }
        if op == "d":
            value["before"] = row  # REPLICA IDENTITY FULL
        yield json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _row(chance: Random, number: int) -> dict[str, object]:
    cpf = f"{chance.randrange(10**11):011d}"
    return {
        "id": number,
        "nome": f"José da Conceição {chance.getrandbits(32):x}",
        "email": f"u{number}@exemplo.com.br",
        "cpf": f"{cpf[:3]}.{cpf[3:6]}.{cpf[6:9]}-{cpf[9:]}",
        "telefone": f"+55 11 9{chance.randrange(10**8):08d}",
        "data_nascimento": chance.randrange(20_000),
        "endereco": json.dumps(
            {"rua": f"Av. São João {chance.randrange(2000)}", "geo": {"lat": -23.54, "lon": -46.63}}
        ),
        "saldo": f"{chance.randrange(10**7) / 100:.2f}",
        "ativo": True,
        "criado_em": "2024-03-10T15:34:56.789012Z",
        "atualizado_em": 1_710_074_096_789_012 + number,
        "tags": ["vip", "a b", None],
        "uuid_externo": f"{chance.getrandbits(128):032x}",
        "bio": f"{chance.getrandbits(252):063x}",
    }


def _source(number: int) -> dict[str, object]:
    lsn = 141_926_872 + 120 * number
    return {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "cdc",
        "ts_ms": 1_795_262_403_123 + number,
        "snapshot": "false",
        "db": "usuarios",
        "sequence": f'["{lsn - 56}","{lsn}"]',
        "ts_us": (1_795_262_403_123 + number) * 1000,
        "ts_ns": (1_795_262_403_123 + number) * 1_000_000,
        "schema": "public",
        "table": "Usuários",
        "txId": 930 + number,
        "lsn": lsn,
        "xmin": None,
        "origin": None,
        "origin_lsn": None,
    }
