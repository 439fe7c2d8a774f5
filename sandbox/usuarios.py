"""The founding table "Usuários": its definition, and seeded rows that hold what real and careless people type."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg

TABLE: Final = "Usuários"
CREATE_TABLE: Final[LiteralString] = """
CREATE TABLE "Usuários" (id bigint PRIMARY KEY, nome text, email text, cpf varchar(14), telefone text,
 data_nascimento date, endereco jsonb, saldo numeric(12,2), ativo boolean, criado_em timestamptz,
 atualizado_em timestamp, tags text[], uuid_externo uuid, bio text)
"""

LONG_BIO_CHARACTERS: Final = 4200
"""A long bio has at least so many characters that do not compress: Postgres stores it out of line (TOAST)."""

BEYOND_DOUBLES: Final = 2**53
"""From here on a JSON reader that takes numbers for doubles loses digits."""

_NULL_SHARE = 0.04
_ODD_SHARE = 0.06
_LONG_BIO_SHARE = 0.35

_FIRST_NAMES = ("Ana", "José", "João", "Luíza", "Estêvão", "Márcia", "Inês", "Cauã", "Iracema", "Zoë", "Raí")
_LAST_NAMES = ("Silva", "Araújo", "Gonçalves", "Brandão", "Magalhães", "Conceição", "Müller", "Nakamura", "Falcão")
_ODD_NAMES = (
    None,
    "",
    " ",
    "  Espaços  à volta ",
    "Joana D'Ávila",
    'Ana 😀 "aspas" \\ barra',
    "Jose\u0301 em NFD",  # the accent is a character of its own
    "👩‍👩‍👧 Família",
    'Robert\'); DROP TABLE "Usuários";--',
    "duas\nlinhas\te tab\r",
    "separador\u2028de linha",
    "NULL",
    "null",
    "\\N",
    "%s {} $1",
    "日本 太郎",
    "x" * 300,
)
_DOMAINS = ("exemplo.com.br", "correio.org.br", "EMPRESA.com.br", "universidade.edu.br", "bairro.net", "exemplo.com")
_ODD_EMAILS = ("", "sem-arroba", "a@b@c", "ação@exemplo.com.br", "o'neil+tag@exemplo.com", '"entre aspas"@exemplo.com')
_STATES = ("SP", "RJ", "MG", "BA", "RS", "PR", "PE", "CE", "PA", "SC", "MA", "GO", "AM", "ES", "PB", "RN", "MT", "AL")
_STREETS = ("Av. São João", "Rua Conceição", "Travessa D'Água", "Praça da Sé", 'Rua "B"', "Estrada do Açude \\ km 3")
_ODD_DOCUMENTS = (
    "null",
    "{}",
    "[]",
    "true",
    '"só um texto"',
    '[1, 2.50, {"a": "b"}]',
    '{"a": {"b": {"c": [[], [null, {"d": "é\\n\\"x\\""}]]}}, "": ""}',
    '{"grande": 12345678901234567890123456789.000000001, "pequeno": 1e-9, "inteiro": 9007199254740993}',
)
_TAGS = ("vip", "novo", "ção", "inadimplente", "beta", "a b", "app", "newsletter")
_ODD_TAGS = (
    None,
    "",
    " ",
    "NULL",
    "a,b",
    'diz "oi"',
    "{chaves}",
    "barra\\invertida",
    "é'apóstrofo",
    "duas\nlinhas",
    "😀",
)
_SALDO_CENTS_MAX = 10**12 - 1
_WORDS = ("gosta", "de", "café", "com", "pão,", "à", "noite", "lê", "poesia", "no", "coração", "da", "cidade")


def key(number: int) -> int:
    """The key of the n-th row: mostly n; some negative, some beyond what a double holds. Unique for n below 2**53."""
    if number % 97 == 0:
        return number + BEYOND_DOUBLES
    return -number if number % 101 == 0 else number


def number(key: int) -> int:
    """Which row has this key: the inverse of `key`."""
    return abs(key) % BEYOND_DOUBLES


def usuario(random: Random, key: int, now: datetime) -> tuple[Any, ...]:
    """One row, its values in the order of the table's columns, as psycopg takes them."""
    return (key, *(value(random, now) for value in VALUES.values()))


def usuarios(random: Random, count: int, now: datetime) -> Iterator[tuple[Any, ...]]:
    """The first rows of the table, one by one."""
    return (usuario(random, key(number), now) for number in range(1, count + 1))


def create(connection: psycopg.Connection, count: int, random: Random, now: datetime) -> None:
    """Make the table and fill it with COPY."""
    with connection.transaction():
        connection.execute(CREATE_TABLE)
        with connection.cursor() as cursor, cursor.copy('COPY "Usuários" FROM STDIN') as copy:
            for row in usuarios(random, count, now):
                copy.write_row(row)


def nome(random: Random, _now: datetime) -> str | None:
    """A name."""
    if random.random() < _ODD_SHARE:
        return random.choice(_ODD_NAMES)
    return f"{random.choice(_FIRST_NAMES)} {random.choice(_LAST_NAMES)} {random.choice(_LAST_NAMES)}"


def email(random: Random, _now: datetime) -> str | None:
    """An e-mail address, some of them none."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    if chance < _NULL_SHARE + _ODD_SHARE:
        return random.choice(_ODD_EMAILS)
    return f"u{random.getrandbits(40):x}@{random.choice(_DOMAINS)}"


def cpf(random: Random, _now: datetime) -> str | None:
    """A CPF with right check digits, written with or without its dots."""
    if random.random() < _NULL_SHARE:
        return None
    digits = [int(digit) for digit in f"{random.randrange(10**9):09}"]
    for _ in range(2):
        weighted = sum(weight * digit for weight, digit in enumerate(reversed(digits), start=2))
        digits.append(-weighted % 11 % 10)
    text = "".join(map(str, digits))
    return text if random.random() < _ODD_SHARE else f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def telefone(random: Random, _now: datetime) -> str | None:
    """A mobile phone number."""
    if random.random() < _NULL_SHARE:
        return None
    return f"+55 {random.randrange(11, 100)} 9{random.randrange(10**4):04}-{random.randrange(10**4):04}"


def data_nascimento(random: Random, _now: datetime) -> date | None:
    """A date of birth; some are the marks that applications use for "unknown"."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    if chance < _NULL_SHARE + _ODD_SHARE / 3:
        return random.choice((date(1, 1, 1), date(1582, 10, 10), date(1900, 2, 28), date(9999, 12, 31)))
    return date(1930, 1, 1) + timedelta(days=random.randrange(29_000))


def endereco(random: Random, _now: datetime) -> str | None:
    """An address as JSON text, nested; some documents are no address at all."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    if chance < _NULL_SHARE + _ODD_SHARE:
        return random.choice(_ODD_DOCUMENTS)
    address = {
        "rua": random.choice(_STREETS),
        "numero": random.randrange(1, 5000),
        "cep": f"{random.randrange(10**5):05}-{random.randrange(10**3):03}",
        "uf": random.choice(_STATES),
        "complemento": None if random.random() < 0.5 else "apto 12, bloco “C”",
        "geo": {"lat": round(random.uniform(-33, 5), 6), "lon": round(random.uniform(-73, -34), 6)},
    }
    return json.dumps(address, ensure_ascii=False)


def saldo(random: Random, _now: datetime) -> Decimal | None:
    """A balance, negative too, up to what numeric(12,2) holds."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    if chance < _NULL_SHARE + _ODD_SHARE:
        return Decimal(random.choice((0, -1, 1, _SALDO_CENTS_MAX, -_SALDO_CENTS_MAX))).scaleb(-2)
    return Decimal(random.randrange(-500_00, 20_000_00)).scaleb(-2)


def ativo(random: Random, _now: datetime) -> bool | None:
    """Whether the account is active."""
    chance = random.random()
    return None if chance < _NULL_SHARE else chance < 0.8


def criado_em(random: Random, now: datetime) -> datetime | None:
    """An instant to the microsecond, mostly of the last ten years, some before 1970 and after 2038."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    microseconds = timedelta(microseconds=random.randrange(10 * 365 * 86_400 * 10**6))
    if chance < _NULL_SHARE + _ODD_SHARE:
        since = datetime(random.choice((1901, 1955, 2038, 2190)), 1, 20, tzinfo=UTC)
        return since + microseconds
    return now - microseconds


def atualizado_em(random: Random, now: datetime) -> datetime | None:
    """The same without a zone."""
    instant = criado_em(random, now)
    return instant and instant.replace(tzinfo=None)


def tags(random: Random, _now: datetime) -> list[str | None] | None:
    """Words, some of them missing or full of what separates the elements of an array."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    if chance < _NULL_SHARE + _ODD_SHARE:
        return [random.choice(_ODD_TAGS) for _ in range(random.randrange(1, 5))]
    return [random.choice(_TAGS) for _ in range(random.randrange(4))]


def uuid_externo(random: Random, _now: datetime) -> UUID | None:
    """An identifier of another system."""
    return None if random.random() < _NULL_SHARE else UUID(int=random.getrandbits(128), version=4)


def bio(random: Random, now: datetime) -> str | None:
    """A life in few words, or in so many that Postgres stores it out of line."""
    chance = random.random()
    if chance < _NULL_SHARE:
        return None
    return bio_long(random, now) if chance < _NULL_SHARE + _LONG_BIO_SHARE else bio_short(random, now)


def bio_short(random: Random, _now: datetime) -> str:
    """A few words, or none."""
    return " ".join(random.choices(_WORDS, k=random.randrange(12)))


def bio_long(random: Random, _now: datetime) -> str:
    """A text that does not compress."""
    noise = base64.b64encode(random.randbytes(random.randrange(LONG_BIO_CHARACTERS, 2 * LONG_BIO_CHARACTERS) * 3 // 4))
    return f"Coração 😀 {random.choice(_WORDS)}: {noise.decode()}"


VALUES: Final[Mapping[str, Callable[[Random, datetime], Any]]] = {
    value.__name__: value
    for value in (
        nome,
        email,
        cpf,
        telefone,
        data_nascimento,
        endereco,
        saldo,
        ativo,
        criado_em,
        atualizado_em,
        tags,
        uuid_externo,
        bio,
    )
}
"""How each column but the key is made, in the order of the table."""

COLUMNS: Final = ("id", *VALUES)
