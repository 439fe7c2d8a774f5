"""The file of an export is there whole or not at all, is its owner's, and says how far it comes."""

from __future__ import annotations

import json
import resource
import stat
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from cdc.contract import parse_contract
from cdc.errors import FatalFault
from compactor.mask import fingerprint
from compactor.pii_key import PiiKey
from compactor.state import export, parquet
from tests.raw_zone import MemoryObjects
from tests.state_world import CONTRACT, KEY, SHARD, TABLE, Source, event, row, scatter, zone

PII_KEY = PiiKey(KEY, "version-1")


def test_the_file_is_in_the_order_of_the_key_says_how_far_it_comes_and_is_the_owners(tmp_path: Path) -> None:
    source = Source(Random(1))
    for _ in range(200):
        source.happen(range(20))
    store, path = scatter(source.events, Random(2)), tmp_path / "t.parquet"
    told: list[str] = []
    export(TABLE, store, PII_KEY, path, told.append)
    table = pq.read_table(path)
    assert table["id"].to_pylist() == sorted(source.rows)
    assert table["nome"].to_pylist() == [source.rows[key]["nome"] for key in sorted(source.rows)]
    assert table.schema.names[-4:] == ["cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at"]
    assert json.loads(table.schema.metadata[b"cdc.offsets"]).keys() == {SHARD, SHARD[:-1] + "1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told
    assert not any("n1" in line for line in told)


def test_what_lets_a_reader_pass_over_groups_is_told_of_keys_and_of_what_has_an_order(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    export(TABLE, zone([event("c", 5 + key, None, row(key)) for key in range(3)]), PII_KEY, path)
    group = pq.ParquetFile(path).metadata.row_group(0)
    told = {one.path_in_schema for one in map(group.column, range(group.num_columns)) if one.statistics}
    assert {"id", "cdc_lsn", "cdc_committed_at"} <= told
    assert not {"nome", "bio", "cpf"} & told


def test_rows_go_from_group_to_group_in_the_order_of_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 7)
    path = tmp_path / "t.parquet"
    created = [event("c", 5 + key, None, row(key, f"n{key}")) for key in Random(3).sample(range(40), 40)]
    deleted = [event("d", 100 + key, {"id": key}, None) for key in range(20)]
    export(TABLE, zone(created[:25], created[25:], deleted), PII_KEY, path)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)] == [7, 7, 6]
    assert file.read()["nome"].to_pylist() == [f"n{key}" for key in range(20, 40)]


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("mine")
    with pytest.raises(FatalFault, match="the file cannot be written: File exists"):
        export(TABLE, zone([event("c", 5, None, row(1))]), PII_KEY, path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("t.parquet", "mine")]


def test_a_table_without_a_row_gives_a_file_without_a_row(tmp_path: Path) -> None:
    export(TABLE, MemoryObjects(), PII_KEY, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 0


def test_an_export_that_is_killed_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = zone([event("c", 5, None, row(1))])

    def killed(*_: object) -> None:
        assert list(tmp_path.iterdir()) == []
        raise KeyboardInterrupt

    monkeypatch.setattr("compactor.state.parquet.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        export(TABLE, store, PII_KEY, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    store, path = zone([event("c", 5, None, row(1))]), tmp_path / "t.parquet"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk has it of which 100 bytes are left
    try:
        with pytest.raises(FatalFault) as caught:
            export(TABLE, store, PII_KEY, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.what, caught.value.where) == ("the file cannot be written: File too large", str(path))
    assert list(tmp_path.iterdir()) == []


class Broken(MemoryObjects):
    """A store whose objects can be listed and not be read."""

    def get(self, path: str) -> bytes:
        raise ConnectionResetError(path)


def test_a_fault_of_reading_raw_is_not_told_as_one_of_the_file(tmp_path: Path) -> None:
    store = Broken()
    store.objects = zone([event("c", 5, None, row(1))]).objects
    with pytest.raises(ConnectionResetError):
        export(TABLE, store, PII_KEY, tmp_path / "t.parquet")


def test_the_file_states_the_masking_key_as_the_lakes_tables_do(tmp_path: Path) -> None:
    store = zone([event("c", 5, None, row(1))])
    clear, masked = tmp_path / "clear.parquet", tmp_path / "masked.parquet"
    tokens = parse_contract(CONTRACT.replace("ID", "bigint").replace("value: last4", "value: token"))
    export(TABLE, store, PII_KEY, clear)
    export(tokens, store, PII_KEY, masked)
    stated = [pq.read_schema(path).metadata for path in (clear, masked)]
    names = (b"cdc.pii-key-check", b"cdc.pii-key-version")
    assert [tuple(one[name] for name in names) for one in stated] == [
        (b"", b""),
        (fingerprint(KEY).encode(), b"version-1"),
    ]
