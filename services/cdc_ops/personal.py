"""Personal data: proposes classification and mask of a column from its name, in Portuguese and English.

A proposal is a guess that shows too little rather than too much; a person confirms it. What is personal and what is
sensitive follows the Brazilian data protection law (LGPD, Lei 13.709/2018, art. 5 I and II).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from cdc.postgres_type import PostgresType

_FLAGS: Final = frozenset({"boolean", "timestamp", "timestamptz", "date"})
"""Types that hold no address, number or name, but whether or when it was confirmed."""
_DOCUMENTS: Final = frozenset({"json", "jsonb"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed classification and mask; `reason` says why, empty when the column does not look personal."""

    classification: str
    mask: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a name that matches `pattern` says of a column; `of_flags` also where the type is one of `_FLAGS`."""

    what: str
    pattern: re.Pattern[str]
    classification: str
    mask: str
    of_flags: bool = False
    unless: re.Pattern[str] | None = None


def _words(*stems: str) -> re.Pattern[str]:
    """Matches a name in `snake_case` that has one of these words; a stem with `*` matches anywhere, being long."""
    forms = [stem[1:] if stem.startswith("*") else f"(?:^|_){stem}s?\\d*(?:_|$)" for stem in stems]
    return re.compile("|".join(forms))


_THINGS: Final = _words(
    "produto", "product", "arquivo", "file", "tabela", "table", "plano", "plan", "campo", "field", "coluna", "column",
    "banco", "host", "domain", "dominio", "servidor", "server", "evento", "event", "loja", "store", "categoria",
    "category", "cidade", "city", "estado", "state", "pais", "country", "status", "tipo", "type", "app", "sistema",
)  # fmt: skip
# The first rule that matches holds: an ip_address is no street, an e-mail's hash no secret but a secret's is one.
_RULES: Final = (
    _Rule(
        "a secret", _words(
            "*senha", "*password", "passwd", "pwd", "secret", "segredo", "token", "api_?key", "apikey", "otp", "pin",
            "cvv", "cvc", "salt", "private_key", "chave_privada", "*credencia", "*credential", "session", "sessao",
        ), "restricted", "redact",
    ),
    _Rule(
        "sensitive personal data (LGPD art. 5 II)", _words(
            "*saude", "*health", "*doenca", "*disease", "*diagnos", "*prontuario", "*medicament", "medical", "*alergi",
            "*allerg", "*gestant", "*gravid", "*pregnan", "*deficien", "*disab", "sangue", "*sanguine", "blood", "hiv",
            "*vacina", "*vaccin", "cid", "laudo", "*relig", "crenca", "raca", "race", "*etnia", "*etnic", "*ethnic",
            "*partid[oa]_pol", "partido", "*partidari", "opiniao_politica", "political", "*sindica", "trade_union",
            "*sexual", "*biometr", "*fingerprint", "impressao_digital", "facial", "face_?id", "dna", "*genetic",
            "antecedente", "*criminal",
        ), "restricted", "redact", of_flags=True,
    ),
    _Rule(
        "a birth date",
        _words("*nascimento", "nasc", "*birth", "dob", "bday", "*dtnasc", "*datanasc", "*aniversario"),
        "confidential", "redact", of_flags=True,
    ),
    _Rule("an e-mail address", _words("*email", "e_mail", "mail", "correio_eletronico"), "restricted", "token"),
    _Rule(
        "a phone number",
        _words("*telefon", "*celular", "fone", "tel", "cel", "cell", "*phone", "fax", "*whatsapp", "mobile"),
        "restricted", "last4",
    ),
    _Rule("a payment card", _words("*cartao", "card", "credit_card", "pan"), "restricted", "last4"),
    _Rule(
        "a bank account", _words(
            "pix", "chave_pix", "iban", "*conta_(?:bancaria|corrente|poupanca)", "*contabancaria", "bank",
            "account_number", "agencia", "banco", "dados_bancarios", "*bancari",
        ), "restricted", "token",
    ),
    _Rule(
        "an identity document or taxpayer number", _words(
            "*cpf", "*cnpj", "rg", "cnh", "pis", "pasep", "nis", "nit", "ctps", "*titulo_?eleitor", "*passaporte",
            "*passport", "ssn", "*social_?security", "nif", "tax_?(?:id|number)", "taxpayer", "*documento", "document",
            "doc", "identidade", "id_card", "national_id",
        ), "restricted", "token",
    ),
    _Rule("a network address", _words("ip", "ipv4", "ipv6", "*endereco_?ip", "*ip_?address", "mac", "mac_address"),
          "confidential", "token"),
    _Rule(
        "a place on the map",
        _words("geo", "lat", "lng", "lon", "*latitude", "*longitude", "gps", "*geoloc", "*localizacao", "coordenada"),
        "confidential", "redact",
    ),
    _Rule(
        "an address", _words(
            "*enderec", "*address", "addr", "cep", "*logradouro", "rua", "bairro", "*complemento", "street", "zip",
            "zip_?code", "*postal", "postcode", "*residencia", "neighborhood",
        ), "confidential", "redact",
    ),
    _Rule("a vehicle's plate", _words("placa", "license_plate", "renavam", "chassi"), "confidential", "token"),
    _Rule(
        "a person's name or nickname", _words(
            "nome", "name", "nm", "mae", "pai", "mother", "father", "*sobrenome", "*surname", "*firstname",
            "*lastname", "*fullname", "*nomecompleto",
            "*nome_?(?:da_)?mae", "*nome_?(?:do_)?pai", "filiacao", "apelido", "*nickname", "*username", "login",
        ), "confidential", "token", unless=_THINGS,
    ),
    _Rule("how to reach a person", _words("contato", "contact"), "restricted", "token"),
    _Rule("a picture of a person", _words("foto", "photo", "avatar", "selfie", "*picture"), "confidential", "redact"),
    _Rule("a person's sex or gender", _words("sexo", "sex", "genero", "gender"), "confidential", "redact",
          of_flags=True),
    _Rule(
        "text that people write freely", _words(
            "bio", "*biografia", "*observac", "obs", "*anotac", "*comentario", "comment", "mensagem", "message", "note",
            "notas",
        ), "confidential", "redact",
    ),
    _Rule(
        "a fact about a person", _words(
            "saldo", "balance", "*salario", "*salary", "renda", "income", "idade", "age", "*profissao", "occupation",
            "estado_civil", "marital_status", "*escolaridade", "*nacionalidade", "*nationality", "score",
        ), "confidential", "clear",
    ),
)  # fmt: skip


def propose(name: str, type_: PostgresType, *, is_key: bool) -> Proposal:
    """Classification and mask for a column of this name in the source, the mask being one that its type can have."""
    words = _snake_case(name)
    for rule in _RULES:
        if not rule.pattern.search(words) or (rule.unless is not None and rule.unless.search(words)):
            continue
        if type_.name in _FLAGS and not rule.of_flags:
            continue
        mask, because = _fitting(rule.mask, type_, is_key=is_key)
        return Proposal(rule.classification, mask, f"looks like {rule.what}{because}")
    return Proposal("internal", "clear")


def _fitting(mask: str, type_: PostgresType, *, is_key: bool) -> tuple[str, str]:
    """The nearest mask that the contract allows for this type, and why it is another."""
    if is_key:
        if type_.is_text:
            return "token", "" if mask == "token" else "; a key can be masked by token only"
        return "clear", f"; a key that is {type_} cannot be masked: think of another key"
    if mask in {"token", "last4"} and (not type_.is_text or type_.name in _DOCUMENTS):
        return "redact", f"; {mask} is for plain text, not for {type_}"
    return mask, ""


def _snake_case(name: str) -> str:
    """`dataNascimento`, `Data de Nascimento` and `DATA_NASCIMENTO` alike as words with `_` between."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")
