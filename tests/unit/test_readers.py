"""What Athena, Redshift and Spark could not read is refused before a table is made, all problems at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.types import FixedType, IcebergType, ListType, TimeType, UUIDType

from cdc.contract import ContractFault, load_folder, parse_contract
from cdc.errors import SettingsFault
from cdc.postgres_type import _KINDS, PostgresType, parse_type
from cdc.readers import column_name_faults, is_cut_by_redshift, namespace_faults, table_name_faults
from cdc.settings import load
from cdc_ops.cli import main
from cdc_ops.contract_command import cut_columns
from compactor.lake.schema import iceberg_type
from compactor.settings import CompactorSettings
from tests.compactor_world import CONTRACT


@pytest.mark.parametrize("name", ["usuarios", "_x", "a" * 119, "pos", "select", "user"])
def test_names_that_all_readers_take(name: str) -> None:
    assert table_name_faults(name) == column_name_faults(name) == ()


@pytest.mark.parametrize(
    "name",
    ["", "Usuarios", "usuários", "2fa", "a b", "a-b", 'a"b', "a.b", "cdc_status", "a" * 128, "a\n", "ﬁm"],
)
def test_names_that_none_can_have(name: str) -> None:
    assert table_name_faults(name)
    assert column_name_faults(name)


def test_a_table_leaves_room_for_the_name_of_its_history() -> None:
    assert table_name_faults("a" * 120)
    assert not column_name_faults("a" * 127)


@pytest.mark.parametrize("name", ["xmin", "ctid", "oid", "_file", "_deleted", "_row_id"])
def test_columns_that_a_reader_has_itself_are_refused(name: str) -> None:
    assert column_name_faults(name)
    assert not table_name_faults(name)


@pytest.mark.parametrize("name", ["history", "files", "snapshots", "manifests"])
def test_tables_that_iceberg_has_itself_are_refused(name: str) -> None:
    assert table_name_faults(name)
    assert not column_name_faults(name)


@pytest.mark.parametrize("name", ["Lake", "my-lake", "information_schema", "pg_lake", "a__b", "_lake", "a" * 128])
def test_a_namespace_that_a_reader_cannot_name_is_refused_with_the_settings(name: str) -> None:
    assert namespace_faults(name)
    with pytest.raises(SettingsFault) as found:
        load(CompactorSettings, {"CDC_CATALOG": name})
    assert any(problem.startswith("CDC_CATALOG: ") for problem in found.value.problems)


def test_the_services_own_prefix_is_free_for_a_namespace() -> None:
    assert not namespace_faults("cdc_lake")


def test_every_type_that_a_contract_can_state_is_one_that_all_readers_have() -> None:
    for name in sorted(_KINDS):
        for text in (name, f"{name}[]"):
            type_ = parse_type(text)
            assert type_ is not None
            assert not isinstance(innermost(iceberg_type(type_, 1)[0]), (TimeType, UUIDType, FixedType)), text


def innermost(kind: IcebergType) -> IcebergType:
    while isinstance(kind, ListType):
        kind = kind.element_type
    return kind


@pytest.mark.parametrize(
    ("type_", "text"), [("numeric(38,10)", "decimal(38, 10)"), ("numeric(39,0)", "string"), ("numeric", "string")]
)
def test_decimals_that_no_reader_holds_are_text(type_: str, text: str) -> None:
    parsed = parse_type(type_)
    assert parsed is not None
    assert str(iceberg_type(parsed, 1)[0]) == text


@pytest.mark.parametrize(
    ("type_", "is_cut"),
    [
        ("text", True), ("varchar", True), ("varchar(4096)", False), ("varchar(4097)", True), ("jsonb", True), ("bytea", True),
        ("uuid", False), ("integer", False), ("numeric(12,2)", False), ("numeric", False), ("text[]", False), ("timestamptz", False),
        ("varbit(64)", False), ("varbit", True), ("geometry", True),
    ],
)  # fmt: skip
def test_redshift_cuts_what_may_be_longer_than_its_texts(type_: str, is_cut: bool) -> None:  # noqa: FBT001
    parsed = parse_type(type_)
    assert isinstance(parsed, PostgresType)
    assert is_cut_by_redshift(parsed) is is_cut


def test_a_token_is_never_cut() -> None:
    text = CONTRACT.format(name="t").replace(
        "{name: bio,", "{name: bio, customProperties: [{property: mask, value: token}],"
    )
    assert cut_columns(parse_contract(text)) == ["nome"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = CONTRACT.format(name="Files").replace("{name: nome,", "{name: xmin,").replace("{name: bio,", "{name: Bio,")
    with pytest.raises(ContractFault) as found:
        parse_contract(text)
    assert [problem.split(": ")[0] for problem in found.value.problems] == ["the table", "column xmin", "column Bio"]


def test_more_columns_than_redshift_reads_are_refused() -> None:
    columns = "".join(f"      - {{name: c{n}, physicalType: text, classification: internal}}\n" for n in range(1590))
    text = CONTRACT.format(name="t").replace("slaProperties", f"{columns}slaProperties")
    with pytest.raises(ContractFault, match="1 problem"):
        parse_contract(text)


def test_a_folder_names_the_problems_of_every_file(tmp_path: Path) -> None:
    for name in ("xmin", "snapshots", "Usuários"):
        (tmp_path / f"{name}.odcs.yaml").write_text(CONTRACT.format(name=name))
    with pytest.raises(ContractFault) as found:
        load_folder(tmp_path)
    assert {problem.split(":")[0] for problem in found.value.problems} >= {"snapshots.odcs.yaml", "Usuários.odcs.yaml"}


def test_the_check_of_contracts_ends_with_2_before_the_database_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.odcs.yaml").write_text(CONTRACT.format(name="files"))
    assert main(["contract", "--check", str(tmp_path), "--dsn", "postgresql://nobody@127.0.0.1:1/none"]) == 2
    assert "files" in capsys.readouterr().err
