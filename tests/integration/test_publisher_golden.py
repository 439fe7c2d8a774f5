"""What the publisher emits for the SQL of the recorded session 13 is what real Debezium emitted for it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc_publisher.envelope import partition_key
from sandbox.aws import Aws
from sandbox.postgres import Postgres
from sandbox.usuarios import CREATE_TABLE
from tests.publisher_support import by_key, contracts, published, publisher, without_times

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parents[1] / "golden" / "debezium_13_usuarios_decimal_string.jsonl"
ADDRESS = (
    '{"rua":"Av. São João","numero":1234,"cep":"01035-000","geo":{"lat":-23.5429,"lon":-46.6353},"complemento":null}'
)
COLUMNS = (
    "id,nome,email,cpf,telefone,data_nascimento,endereco,saldo,ativo,criado_em,atualizado_em,tags,uuid_externo,bio"
)
UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
TAGS = '{vip,"a b",NULL,ção}'


def noise(seed: int) -> str:
    return f"(select string_agg(md5({seed}::text||g::text),'') from generate_series(1,200) g)"


def insert(
    id_: int,
    nome: str,
    *,
    cpf: str | None = None,
    birth: str = "1990-05-17",
    address: str = ADDRESS,
    saldo: str = "1234.56",
    ativo: str = "true",
    criado: str = "2024-03-10 12:34:56.789012-03",
    atualizado: str = "2024-03-10 12:34:56.789012",
    tags: str = TAGS,
    bio: str | None = None,
) -> str:
    return (
        f"INSERT INTO \"Usuários\" ({COLUMNS}) VALUES ({id_},'{nome}','u{id_}@exemplo.com.br',"
        f"{cpf or 'NULL'},'+55 11 91234-5678','{birth}','{address}',{saldo},{ativo},'{criado}','{atualizado}',"
        f"'{tags}','{UUID}',{bio or noise(id_)})"
    )


def cpf(id_: int, last: int) -> str:
    return f"'{id_:03}.456.789-{last:02}'"


BEFORE = (
    insert(1, "José da Conceição", cpf=cpf(1, 1)),
    insert(
        2,
        'Ana 😀 "aspas" \\ barra',
        cpf=cpf(2, 2),
        birth="1899-12-31",
        saldo="-0.01",
        ativo="false",
        criado="1969-12-31 23:59:59.999999+00",
        atualizado="1969-12-31 23:59:59.999999",
        tags="{}",
        bio="'curta'",
    ),
    'INSERT INTO "Usuários"(id) VALUES (3)',
    insert(
        4,
        "",
        cpf=cpf(4, 4),
        birth="infinity",
        address='[1,2,{"a":"b"}]',
        saldo="9999999999.99",
        criado="infinity",
        atualizado="-infinity",
        bio="repeat('á',5000)",
    ),
    insert(
        9223372036854775807,
        "id máximo",
        birth="0044-03-15 BC",
        saldo="0",
        criado="9999-12-31 23:59:59.999999+00",
        atualizado="0001-01-01",
    ),
)
STEPS = (
    insert(10, "Novo", cpf=cpf(10, 0)),
    'INSERT INTO "Usuários"(id,nome) VALUES (11,NULL)',
    "UPDATE \"Usuários\" SET saldo=saldo+1, atualizado_em='2024-06-01 00:00:00' WHERE id=1",
    f'UPDATE "Usuários" SET bio={noise(77)} WHERE id=1',
    'UPDATE "Usuários" SET email=NULL, tags=NULL, endereco=NULL, saldo=NULL WHERE id=2',
    'UPDATE "Usuários" SET nome=nome WHERE id=2',
    (
        'UPDATE "Usuários" SET endereco=\'{"rua":"Nova","itens":[1,2.5,1e30,true]}\', '
        "tags=ARRAY['x','y,z','\"q\"'] WHERE id=10"
    ),
    'UPDATE "Usuários" SET id=1000 WHERE id=1',
    "UPDATE \"Usuários\" SET id=1010, nome='Renomeado' WHERE id=10",
    'DELETE FROM "Usuários" WHERE id=1000',
    'DELETE FROM "Usuários" WHERE id=11',
    (
        f"BEGIN; {insert(20, 'T1', cpf=cpf(20, 0))}; {insert(21, 'T2', cpf=cpf(21, 1))}; "
        "UPDATE \"Usuários\" SET nome='T1b' WHERE id=20; UPDATE \"Usuários\" SET nome='T1c' WHERE id=20; "
        'DELETE FROM "Usuários" WHERE id=21; UPDATE "Usuários" SET ativo=NOT ativo WHERE id IN (2,3,4); COMMIT'
    ),
    (
        f'BEGIN; {insert(30, "A", cpf=cpf(30, 0))}; DELETE FROM "Usuários" WHERE id=30; '
        f"{insert(30, 'B', cpf=cpf(30, 0))}; COMMIT"
    ),
    f"BEGIN; {insert(40, 'nunca', cpf=cpf(40, 0))}; ROLLBACK",
    (
        'BEGIN; INSERT INTO "Usuários"(id,nome) VALUES (41,\'fica\'); SAVEPOINT s; INSERT INTO "Usuários"(id,nome) '
        "VALUES (42,'sai'); ROLLBACK TO s; INSERT INTO \"Usuários\"(id,nome) VALUES (43,'fica'); COMMIT"
    ),
    "INSERT INTO \"Usuários\"(id,nome) VALUES (41,'upsert') ON CONFLICT (id) DO UPDATE SET nome=excluded.nome",
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def expected() -> dict[str, list[dict[str, Any] | None]]:
    """The recorded events by the partition key that we give them, in their order."""
    lanes: dict[str, list[dict[str, Any] | None]] = defaultdict(list)
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        recorded = json.loads(line)
        lanes[partition_key(recorded["key"].encode())].append(recorded["value"] and json.loads(recorded["value"]))
    # The one value in which we differ on purpose: Debezium's snapshot loses the era of 0044-03-15 BC and gives the day
    # of the year 44 after Christ; while streaming it gives the right one, as we do in both.
    last = lanes[partition_key(b'{"id":9223372036854775807}')][0]
    assert last is not None
    assert last["after"]["data_nascimento"] == -703383
    last["after"]["data_nascimento"] = -735160
    return lanes


def test_the_events_are_those_of_debezium(postgres: Postgres, aws: Aws, tmp_path: Path) -> None:
    aws.create_stream("golden", 2)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("SET standard_conforming_strings = on")
        connection.execute(CREATE_TABLE)
        for statement in BEFORE:
            connection.execute(statement.encode())
    folder = contracts(tmp_path / "tables", usuarios="Usuários")
    command = publisher(postgres, aws, "golden", folder, tmp_path / "publisher.log")
    found = published(postgres, command, aws, "golden", STEPS)
    lanes, wanted = by_key(found), expected()
    assert lanes.keys() == wanted.keys()
    for key, events in wanted.items():
        assert [without_times(event) for event in lanes[key]] == [without_times(event) for event in events]
        for ours, theirs in zip(lanes[key], events, strict=True):
            assert _fields(ours) == _fields(theirs)


def _fields(event: dict[str, Any] | None) -> list[str]:
    """The names of all fields in their order."""
    if event is None:
        return []
    return [*event, *event["source"], *(event["after"] or ()), *(event["before"] or ())]
