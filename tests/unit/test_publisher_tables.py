"""What keeps a table from being published exactly, and which columns are the key at each place of the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.errors import FatalFault
from cdc_publisher.catalog import Publication, SourceColumn, SourceTable
from cdc_publisher.pgoutput import Relation, RelationColumn
from cdc_publisher.tables import publication_problems, streamed_key, table_problems

COLUMNS = (SourceColumn("b", 23, -1), SourceColumn("a", 23, -1), SourceColumn("v", 25, -1))
TABLE = SourceTable(
    schema="public",
    name="t",
    is_partitioned=False,
    replica_identity="d",
    key=("a", "b"),
    identity=(),
    columns=COLUMNS,
    unpublished=(),
)
PUBLICATION = Publication(frozenset({("public", "t")}), frozenset(), (), via_root=True)


def relation(identity: str, *flagged: str) -> Relation:
    columns = tuple(RelationColumn(column.name in flagged, column.name, 23, -1) for column in COLUMNS)
    return Relation(1, "public", "t", identity, columns)


def test_a_sound_table_has_no_problems() -> None:
    assert table_problems(TABLE) == []
    assert publication_problems("p", PUBLICATION, [TABLE]) == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (replace(TABLE, key=()), "no primary key"),
        (replace(TABLE, columns=COLUMNS[:1]), "leaves out the key's column a"),
        (replace(TABLE, replica_identity="n"), "REPLICA IDENTITY DEFAULT"),
        (replace(TABLE, replica_identity="i", identity=("a",)), "REPLICA IDENTITY DEFAULT"),
        (replace(TABLE, replica_identity="f", unpublished=("g",)), "would refuse the application's updates"),
    ],
)
def test_tables_that_cannot_be_told_row_by_row(table: SourceTable, problem: str) -> None:
    assert len(table_problems(table)) == 1
    assert problem in table_problems(table)[0]


@pytest.mark.parametrize(
    ("publication", "table", "problem"),
    [
        (replace(PUBLICATION, tables=frozenset()), TABLE, "is not in the publication"),
        (replace(PUBLICATION, filtered=frozenset({("public", "t")})), TABLE, "row filter"),
        (replace(PUBLICATION, missing_operations=("truncate",)), TABLE, "does not publish truncate"),
        (replace(PUBLICATION, via_root=False), replace(TABLE, is_partitioned=True), "publish_via_partition_root"),
    ],
)
def test_publications_that_hide_changes(publication: Publication, table: SourceTable, problem: str) -> None:
    problems = publication_problems("p", publication, [table])
    assert len(problems) == 1
    assert problem in problems[0]


def test_the_key_has_the_order_of_the_primary_key() -> None:
    assert streamed_key(relation("d", "a", "b"), ("a", "b")) == ("a", "b")
    assert streamed_key(relation("f", "a", "b", "v"), ("a", "b")) == ("a", "b")
    assert streamed_key(relation("i", "a", "b", "v"), ("a", "b")) == ("a", "b")


def test_with_identity_default_the_log_knows_an_older_key_than_the_catalog() -> None:
    assert streamed_key(relation("d", "b"), ("a", "b")) == ("b",)
    assert streamed_key(relation("d", "b"), ()) == ("b",)


@pytest.mark.parametrize(
    ("seen", "key_now"),
    [
        (relation("n"), ("a",)),
        (relation("i", "b"), ("a", "b")),
        (relation("f", "a", "b", "v"), ()),
        (relation("d"), ("a",)),
    ],
)
def test_changes_without_the_key_stop_the_program(seen: Relation, key_now: tuple[str, ...]) -> None:
    with pytest.raises(FatalFault, match="REPLICA IDENTITY"):
        streamed_key(seen, key_now)
