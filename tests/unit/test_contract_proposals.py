"""Classification and masks proposed for columns that look personal, by their names."""

from __future__ import annotations

import pytest

from cdc.contract import MASKS, Column, TableContract
from cdc.postgres_type import PostgresType, parse_type
from cdc_ops.contract_text import contract_text
from cdc_ops.draft import UnfitTable, draft
from cdc_ops.live_table import LiveColumn, LiveTable
from cdc_ops.personal import Proposal, propose

TYPES = (
    "text", "varchar(14)", "char(2)", "uuid", "json", "jsonb", "smallint", "integer", "bigint", "real", "double precision",
    "numeric(12,2)", "boolean", "date", "timestamp", "timestamptz", "bytea", "text[]", "jsonb[]", "date[]",
)  # fmt: skip
PERSONAL = (
    "cpf", "nome", "email", "telefone", "data_nascimento", "endereco", "senha", "religiao", "ip", "latitude", "cartao", "pix",
    "foto", "sexo", "bio", "saldo", "placa",
)  # fmt: skip


def type_of(text: str) -> PostgresType:
    found = parse_type(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "kind", "classification", "mask"),
    [
        ("cpf", "varchar(14)", "restricted", "token"), ("CPF_Titular", "text", "restricted", "token"), ("cnpj", "text", "restricted", "token"),
        ("cpf", "bigint", "restricted", "redact"), ("rg", "text", "restricted", "token"), ("passport_number", "text", "restricted", "token"),
        ("numeroPassaporte", "text", "restricted", "token"), ("tax_id", "text", "restricted", "token"),
        ("email", "text", "restricted", "token"), ("E-mail", "text", "restricted", "token"), ("emails", "text[]", "restricted", "redact"),
        ("emailAddress", "text", "restricted", "token"), ("email_address", "text", "restricted", "token"),
        ("telefone", "text", "restricted", "last4"), ("phone_number", "varchar(20)", "restricted", "last4"), ("celular", "bigint", "restricted", "redact"),
        ("Data de Nascimento", "date", "confidential", "redact"), ("birth_date", "date", "confidential", "redact"), ("dob", "timestamp", "confidential", "redact"),
        ("dataNascimento", "text", "confidential", "redact"),
        ("Endereço", "jsonb", "confidential", "redact"), ("cep", "char(8)", "confidential", "redact"), ("zip_code", "text", "confidential", "redact"),
        ("street_address", "text", "confidential", "redact"), ("logradouro", "text", "confidential", "redact"),
        ("nome", "text", "confidential", "token"), ("NomeCompleto", "text", "confidential", "token"), ("last_name", "text", "confidential", "token"),
        ("nome_mae", "text", "confidential", "token"), ("nm_pessoa", "text", "confidential", "token"), ("mother", "text", "confidential", "token"),
        ("nome1", "text", "confidential", "token"), ("tel1", "text", "restricted", "last4"), ("cel", "text", "restricted", "last4"),
        ("dtNasc", "date", "confidential", "redact"), ("dtnasc", "date", "confidential", "redact"), ("addr2", "text", "confidential", "redact"),
        ("contato", "text", "restricted", "token"), ("contact_address", "text", "confidential", "redact"), ("nr_doc", "text", "restricted", "token"),
        ("social_security_number", "text", "restricted", "token"), ("tax_number", "text", "restricted", "token"), ("e_mail2", "text", "restricted", "token"),
        ("senha_hash", "text", "restricted", "redact"), ("password", "text", "restricted", "redact"), ("reset_token", "text", "restricted", "redact"),
        ("chave_pix", "text", "restricted", "token"), ("numero_cartao", "text", "restricted", "last4"), ("iban", "text", "restricted", "token"),
        ("ip_address", "text", "confidential", "token"), ("ip", "text", "confidential", "token"), ("latitude", "double precision", "confidential", "redact"),
        ("religião", "text", "restricted", "redact"), ("gestante", "boolean", "restricted", "redact"), ("plano_saude", "text", "restricted", "redact"),
        ("etnia", "text", "restricted", "redact"), ("saldo", "numeric(12,2)", "confidential", "clear"),
    ],
)  # fmt: skip
def test_what_looks_personal_is_masked(name: str, kind: str, classification: str, mask: str) -> None:
    found = propose(name, type_of(kind), is_key=False)
    assert (found.classification, found.mask) == (classification, mask)
    assert found.reason


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tipo", "text"), ("organização", "text"), ("largura", "integer"), ("zipper", "text"), ("nome_produto", "text"), ("file_name", "text"),
        ("caracas", "text"), ("email_verificado", "boolean"), ("senha_alterada_em", "timestamptz"), ("cargo", "text"), ("recepção", "text"),
        ("id", "bigint"), ("criado_em", "timestamptz"), ("licença", "text"), ("politica_privacidade_aceita", "boolean"), ("pagamento", "text"),
        ("tags", "text[]"), ("nm_produto", "text"), ("cancelado", "text"), ("doce", "text"), ("paid", "boolean"), ("celula", "text"), ("contract", "text"),
        ("medição", "numeric(5,2)"), ("uuid_externo", "uuid"), ("contagem", "integer"),
    ],
)  # fmt: skip
def test_what_does_not_is_left_alone(name: str, kind: str) -> None:
    assert propose(name, type_of(kind), is_key=False) == Proposal("internal", "clear")


def test_a_personal_key_is_a_token_or_said_outright_to_be_clear() -> None:
    found = propose("telefone", type_of("text"), is_key=True)
    assert (found.classification, found.mask) == ("restricted", "token")
    assert "token only" in found.reason
    found = propose("cpf", type_of("bigint"), is_key=True)
    assert (found.classification, found.mask) == ("restricted", "clear")
    assert "another key" in found.reason


@pytest.mark.parametrize("kind", TYPES)
def test_every_proposal_is_one_that_a_contract_may_have(kind: str) -> None:
    for is_key in (False, True) if type_of(kind).can_be_key else (False,):
        columns = tuple(LiveColumn(name, kind, type_of(kind)) for name in PERSONAL)
        key = PERSONAL if is_key else ("chave",)
        live = LiveTable("public", "t", (*columns, LiveColumn("chave", "bigint", type_of("bigint"))), key)
        drafted = draft(live, None, 60)
        contract_text(drafted)  # refuses what parse_contract would
        assert {column.column.mask for column in drafted.columns} <= set(MASKS)


@pytest.mark.parametrize("kind", ["text[]", "double precision"])
def test_a_key_that_is_no_key_is_refused_in_plain_words(kind: str) -> None:
    live = LiveTable("public", "t", (LiveColumn("chave", kind, type_of(kind)),), ("chave",))
    with pytest.raises(UnfitTable) as raised:
        draft(live, None, 60)
    assert any("type is no key" in problem for problem in raised.value.problems)


def test_the_text_says_why_and_what_to_confirm_and_keeps_what_the_database_says() -> None:
    live = LiveTable(
        "Vendas", 'Pedido "x"',
        (
            LiveColumn("Número", "bigint", type_of("bigint"), description="a: b # c\n- d"),
            LiveColumn("E-mail", "text", type_of("text")),
            LiveColumn("situação", "public.situacao", type_of("text"), is_enum=True),
            LiveColumn("corpo", "jsonb", type_of("jsonb")),
            LiveColumn("rede", "inet\n- x", None),
            LiveColumn("total", "numeric", None),
            LiveColumn("dobro", "integer", type_of("integer"), generated=True),
        ),
        ("Número",), "Tabela: 'pedidos'",
    )  # fmt: skip
    drafted = draft(live, "pedidos", 2.5)
    text = contract_text(drafted)
    for expected in (
        'value: \'"Vendas"."Pedido ""x"""\'\n',
        "description: 'Tabela: ''pedidos'''",
        'description: "a: b # c\\n- d"',
        "name: numero\n        physicalName: Número\n",
        "# PROPOSED: looks like an e-mail address. A person must confirm classification and mask.",
        "# at the source the enum public.situacao; the lake has its labels as text",
        "look for personal data",
        "# column rede (inet\\n- x): the lake cannot hold its type exactly;",
        "# column total (numeric): the lake cannot hold its type exactly; to have it, give it a precision",
        "# column dobro (integer): is generated",
        "value: 2.5\n",
    ):
        assert expected in text
    assert drafted.contract == TableContract(
        "pedidos", "Vendas", 'Pedido "x"',
        (
            Column("numero", "Número", type_of("bigint"), "internal", "clear"),
            Column("e_mail", "E-mail", type_of("text"), "restricted", "token"),
            Column("situacao", "situação", type_of("text"), "internal", "clear"),
            Column("corpo", "corpo", type_of("jsonb"), "internal", "clear"),
        ),
        ("numero",), "hold", 2.5, left_out=("rede", "total", "dobro"),
    )  # fmt: skip
