"""The lake's names for whatever Postgres lets people call a table or a column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.contract import parse_source_table
from cdc.lake_name import lake_name, lake_names, lake_table_name, shown, source_table
from cdc.readers import column_name_faults, table_name_faults

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Usuários", "usuarios"), ("Usua\u0301rios", "usuarios"), ("USUÁRIOS", "usuarios"), ("data de nascimento", "data_de_nascimento"),
        ("2fa", "_2fa"), ("preço(R$)", "preco_r__"), ("cdc_lsn", "source_cdc_lsn"), ("CDC_Op", "source_cdc_op"), ("日本", "__"),
        ("ﬁm", "fim"), ("İd", "id"), ('as"pas', "as_pas"), ("já_está", "ja_esta"),
    ],
)  # fmt: skip
def test_marks_case_and_all_else_are_folded(name: str, expected: str) -> None:
    assert lake_name(name) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Nome", "nome", "NOME", "Nóme"], ("nome_2", "nome", "nome_3", "nome_4")),
        (["A", "a_2", "a"], ("a_3", "a_2", "a")),
        (["日", "本", "_"], ("__2", "__3", "_")),
        (["cdc_op", "source_cdc_op"], ("source_cdc_op_2", "source_cdc_op")),
    ],
)
def test_columns_that_would_be_called_the_same_are_numbered_and_plain_names_kept(
    names: list[str], expected: tuple[str, ...]
) -> None:
    assert lake_names(names) == expected


@given(st.lists(NAMES, max_size=12, unique=True))
def test_any_columns_get_distinct_names_that_a_contract_takes(names: list[str]) -> None:
    found = lake_names(names)
    assert len(set(found)) == len(names)
    for name in found:
        assert not column_name_faults(name)


@given(NAMES)
def test_any_table_gets_a_name_that_a_contract_takes(name: str) -> None:
    assert not table_name_faults(lake_table_name(name))


def test_what_readers_have_for_something_else_gets_a_prefix() -> None:
    assert [lake_name(name) for name in ("XMIN", "_Pos", "cdc_x", "Files")] == [
        "source_xmin",
        "source__pos",
        "source_cdc_x",
        "files",
    ]
    assert [lake_table_name(name) for name in ("Files", "history", "xmin")] == [
        "source_files",
        "source_history",
        "xmin",
    ]


@given(NAMES, NAMES)
def test_any_table_is_written_so_that_a_contract_reads_it_back(schema: str, table: str) -> None:
    assert parse_source_table(source_table(schema, table)) == (schema, table)


def test_names_in_messages_stay_on_one_line_and_leave_the_terminal_alone() -> None:
    assert shown("a\nb\x1b[2Jé\u202e日") == "a\\nb\\x1b[2Jé\\u202e日"
