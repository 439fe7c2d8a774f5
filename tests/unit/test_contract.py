from __future__ import annotations

from pathlib import Path

import pytest

from cdc.contract import ContractFault, TableContract, load_folder, parse_contract
from cdc.postgres_type import parse_type
from tests.conftest import ROOT

TEXT = (ROOT / "tables" / "usuarios.odcs.yaml").read_text(encoding="utf-8")


def test_the_founding_contract(usuarios: TableContract) -> None:
    assert (usuarios.name, usuarios.source_schema, usuarios.source_table) == ("usuarios", "public", "Usuários")
    assert usuarios.key == ("id",)
    assert usuarios.latency_seconds_max == 60
    assert {column.name: column.mask for column in usuarios.columns if column.mask != "clear"} == {
        "email": "token", "cpf": "token", "telefone": "last4",
    }  # fmt: skip


def test_every_problem_is_named_at_once() -> None:
    broken = (
        TEXT.replace("name: saldo", "name: Saldo")
        .replace("physicalType: uuid", "physicalType: polygon")
        .replace("{ property: mask, value: token }", "{ property: mask, value: hidden }", 1)
        .replace('value: public."Usuários"', "value: Usuários")
        .replace("property: latency", "property: retention")
        .replace("    physicalType: jsonb\n        classification: confidential\n", "    physicalType: jsonb\n")
    )
    with pytest.raises(ContractFault) as raised:
        parse_contract(broken)
    text = "\n".join(raised.value.problems)
    for expected in (
        "'Saldo'",
        "'polygon'",
        "mask must be one of",
        "sourceTable",
        "latency",
        "endereco: classification",
    ):
        assert expected in text


def test_a_restricted_column_without_a_mask_is_an_error() -> None:
    without = TEXT.replace("        customProperties: [{ property: mask, value: last4 }]\n", "")
    with pytest.raises(ContractFault) as raised:
        parse_contract(without)
    assert raised.value.problems == (
        "column telefone: is restricted and needs a custom property mask (clear, token, redact, last4)",
    )


@pytest.mark.parametrize(("stated", "full"), [("", False), ("true", True), ("false", False)])
def test_full_images_of_dms_are_stated_by_the_contract(stated: str, *, full: bool) -> None:
    prop = f"      - {{property: dms.fullImages, value: {stated}}}\n" if stated else ""
    text = TEXT.replace("      - property: onNewColumn", f"{prop}      - property: onNewColumn")
    assert parse_contract(text).dms_full_images is full


def test_full_images_of_dms_are_true_or_false() -> None:
    text = TEXT.replace(
        "- property: onNewColumn", '- {property: dms.fullImages, value: "yes"}\n      - property: onNewColumn'
    )
    with pytest.raises(ContractFault) as raised:
        parse_contract(text)
    assert raised.value.problems == ("custom property dms.fullImages must be true or false",)


def test_a_table_without_a_primary_key_is_refused() -> None:
    with pytest.raises(ContractFault, match="1 problem"):
        parse_contract(TEXT.replace("primaryKey: true", "primaryKey: false"))


@pytest.mark.parametrize("text", ["a: [", "schema: 7", "schema: []"])
def test_what_is_no_contract_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(ContractFault):
        parse_contract(text)


def test_a_folder_without_contracts_and_doubled_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractFault) as raised:
        load_folder(tmp_path / "none")
    assert "no such folder" in raised.value.problems[0]
    with pytest.raises(ContractFault):
        load_folder(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.odcs.yaml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(ContractFault) as raised:
        load_folder(tmp_path)
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int8", "bigint"), ("NUMERIC(12, 2)", "numeric(12,2)"), ("numeric(5)", "numeric(5,0)"), ("varchar(14)", "varchar(14)"),
        ("character varying(3)", "varchar(3)"), ("timestamp with time zone", "timestamptz"), ("text[]", "text[]"),
        ("timestamp(3) without time zone", "timestamp(3)"), ("double precision", "double precision"),
        ("numeric(0)", None), ("numeric(3,5)", "numeric(3,5)"), ("numeric(2,2)", "numeric(2,2)"), ("numeric", "numeric"), ("numeric(39,2)", "numeric(39,2)"), ("tsvector", "tsvector"), ("polygon", None), ("", None),
        ("text[][]", None), ("time(3) with time zone", "timetz(3)"), ("bit", "bit(1)"), ("bit varying(5)", "varbit(5)"),
        ('"char"', '"char"'), ("numeric(5,-2)", None), ("serial", "integer"),
    ],
)  # fmt: skip
def test_types_are_read_as_postgres_writes_them(text: str, expected: str | None) -> None:
    found = parse_type(text)
    assert (str(found) if found else None) == expected


def test_the_producers_modes_are_stated_as_custom_properties() -> None:
    stated = TEXT.replace(
        "      - property: onNewColumn",
        "      - { property: debezium.decimal.handling.mode, value: precise }\n"
        "      - { property: debezium.unavailable.value.placeholder, value: gone }\n"
        "      - property: onNewColumn",
        1,
    )
    found = parse_contract(stated).producer
    assert (found.decimal, found.placeholder, found.time) == ("precise", "gone", None)
    with pytest.raises(ContractFault) as raised:
        parse_contract(stated.replace("value: precise", "value: exact").replace("value: gone", "value: 7"))
    assert [problem.split(" must")[0] for problem in raised.value.problems] == [
        "custom property debezium.decimal.handling.mode",
        "custom property debezium.unavailable.value.placeholder",
    ]


def test_former_names_are_a_list_and_stand_for_one_column_only() -> None:
    plain = "mask, value: clear }]\n      - name: email"
    assert plain in TEXT
    good = TEXT.replace(plain, plain.replace(" }]", " }, { property: formerNames, value: [nome_completo] }]"))
    assert parse_contract(good).current_names == {"nome_completo": "nome"}
    for bad, problem in (("nome_completo", "must be a list"), ("[email]", "stands twice")):
        with pytest.raises(ContractFault) as raised:
            parse_contract(good.replace("[nome_completo]", bad))
        assert problem in raised.value.problems[0]
