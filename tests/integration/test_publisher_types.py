"""Every type is written as real Debezium writes it, in the backfill and while streaming; where not, it is said here why.

The golden file was recorded from Debezium 3.6.3 with the SQL below (`test_publisher_debezium.py` records it anew).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from sandbox.aws import Aws
from sandbox.postgres import Postgres
from tests.publisher_support import contracts, published, publisher

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parents[1] / "golden" / "debezium_13_types_decimal_string.jsonl"

EXTENSIONS: LiteralString = (
    "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION isn;"
)
SETUP: LiteralString = r"""
CREATE TYPE humor AS ENUM ('feliz','triste','com espaço');
CREATE DOMAIN dom_text AS varchar(14); CREATE DOMAIN dom_dom AS dom_text; CREATE DOMAIN dom_num AS numeric(10,3);
CREATE DOMAIN dom_ts3 AS timestamp(3); CREATE DOMAIN dom_tz2 AS timestamptz(2); CREATE DOMAIN dom_array AS int[];
CREATE DOMAIN dom_bytea AS bytea; CREATE DOMAIN dom_bool AS boolean; CREATE DOMAIN dom_bits AS bit(8);
CREATE TABLE tipos(id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, r real, d float8, n numeric, n2 numeric(12,2),
 n50 numeric(5,0), n3810 numeric(38,10), m money, b boolean, t text, vc varchar(10), ch char(5), qc "char", nm name,
 cx citext, lt ltree, isbn isbn, js json, jb jsonb, hs hstore, u uuid, by bytea, en humor,
 dt date, ti time, ti0 time(0), ti3 time(3), ti6 time(6), tz timetz, tz3 timetz(3), ts timestamp, ts0 timestamp(0),
 ts2 timestamp(2), ts3 timestamp(3), ts6 timestamp(6), tt timestamptz, tt0 timestamptz(0), tt3 timestamptz(3),
 iv interval, iv0 interval(0), b1 bit(1), bd bit, b8 bit(8), b16 bit(16), vb varbit, vb5 varbit(5), pt point,
 ip inet, ci cidr, ma macaddr, m8 macaddr8, r4 int4range, r8 int8range, rn numrange, rt tsrange, rz tstzrange,
 rd daterange, tv tsvector, o oid,
 d_t dom_text, d_d dom_dom, d_n dom_num, d_ts dom_ts3, d_tz dom_tz2, d_a dom_array, d_by dom_bytea, d_b dom_bool,
 d_bits dom_bits,
 a_i2 int2[], a_i4 int4[], a_i8 int8[], a_r real[], a_d float8[], a_n numeric[], a_n2 numeric(10,2)[], a_b boolean[],
 a_t text[], a_vc varchar(10)[], a_ch char(4)[], a_qc "char"[], a_by bytea[], a_dt date[], a_ti time[], a_ti3 time(3)[],
 a_tz timetz[], a_ts timestamp[], a_ts3 timestamp(3)[], a_tt timestamptz[], a_tt3 timestamptz(3)[], a_u uuid[],
 a_js json[], a_jb jsonb[], a_ip inet[], a_ci cidr[], a_ma macaddr[], a_r4 int4range[], a_rn numrange[], a_rt tsrange[],
 a_rz tstzrange[], a_rd daterange[], a_en humor[], a_hs hstore[], a_cx citext[], a_o oid[],
 gen int GENERATED ALWAYS AS ((i8 % 10)::int) STORED);
INSERT INTO tipos VALUES (1,-32768,2147483647,9223372036854775807,1.1,0.1,123456789.123456789,-0.01,-12345,
 1234567890123456789012345678.0123456789,'-$1,234.56',true,E'ção "aspas" \\ \t 😀','varç','ab','c','nome',
 'CiText','a.b.c','0-393-04002-X','{"b": 1,  "a":2}','{"b": 1,  "a":2}','"a b"=>"c\"d", n=>NULL, "é"=>"\\"',
 '6f9619ff-8b86-d011-b42d-00c04fc964ff','\xdeadbeef00','com espaço',
 '2024-02-29','23:59:59.123456','23:59:59','23:59:59.1','12:00','23:59:59.123456-03','12:00:00.1-03:30',
 '2024-02-29 23:59:59.12','2024-02-29 23:59:59','2024-02-29 23:59:59.12','2024-02-29 23:59:59.123',
 '2024-02-29 23:59:59.123456','2024-02-29 23:59:59.12-03','2024-02-29 23:59:59-03','2024-02-29 23:59:59.12-03',
 '1 year 2 mons 3 days 04:05:06.789','-1.6 seconds',B'1',B'0',B'10101010',B'1000000000000001',B'101',B'10101',
 '(1.5,-2.5)','10.0.0.1/8','10.0.0.0/8','08:00:2b:01:02:03','08:00:2b:01:02:03:04:05','[1,10)','(,5]','[1.5,2.5)',
 '[2024-01-01,2024-01-02)','[2024-01-01 00:00+00,)','[2024-01-01,2024-01-05]','a:1A b',4294967295,
 '123.456.789','dd',1.5,'2024-03-10 12:00:00.12','2024-03-10 12:00:00.5+00','{1,NULL}','\x0102',true,B'10000001',
 '{1,NULL}','{1,NULL,3}','{9223372036854775807,NULL}','{1.5,NULL,1e10,0.1}','{1.5,NULL,1e300}','{1.10,NULL,12.5}',
 '{1.1,NULL}','{t,f,NULL}','{"a","b,c","d\"e","f\\g","",NULL,"NULL","{x}","á😀"}','{a,NULL,"b c"}','{ab,NULL}',
 '{a,NULL}',array['\x0102'::bytea,null],'{2024-02-29,NULL}','{12:00:00.5,NULL}','{12:00:00.5,NULL}',
 '{12:00:00.5-03,NULL}','{2024-02-29 12:00:00.5,NULL}','{2024-02-29 12:00:00.5,NULL}',
 '{2024-02-29 12:00:00.5-03,NULL}','{2024-02-29 12:00:00.5-03,NULL}','{6f9619ff-8b86-d011-b42d-00c04fc964ff,NULL}',
 array['{"a": 1,  "b":"x"}'::json,null],array['{"a": 1,  "b":"x"}'::jsonb,null],'{10.0.0.1,10.0.0.0/8,NULL}',
 '{10.0.0.0/8,NULL}','{08:00:2b:01:02:03,NULL}','{"[1,3)",NULL}','{"[1.5,3)",NULL}',
 '{"[2024-01-01,2024-01-02)",NULL}','{"[2024-01-01 00:00+00,2024-01-02 00:00+00)",NULL}',
 '{"[2024-01-01,2024-01-02)",NULL}','{feliz,NULL,"com espaço"}',array['a=>"b c"'::hstore,null],'{CiT,NULL}',
 '{4294967295,NULL}');
INSERT INTO tipos(id) VALUES (2);
INSERT INTO tipos(id,dt,ti,tz,ts,ts0,ts3,tt,tt0,tt3,iv,r,d,n,n2,m,b16,vb,pt,by,t,js,a_i4,a_t,a_d,a_n,a_b) VALUES
 (3,'infinity','24:00:00','24:00:00+05:30','infinity','-infinity','infinity','infinity','-infinity','infinity',
  '-1 mons +2 days -03:00:00','Infinity','-Infinity','NaN','NaN','$1,234,567.89',B'0000000000000001',
  B'0000000000000001','(1e300,-0)','\x','','{}','{}','{}','{}','{}','{}'),
 (4,'-infinity','00:00:00.000001','23:59:59.999999-15:59','-infinity','infinity','-infinity','-infinity','infinity',
  '-infinity','178000000 years','-0','-0','Infinity',0,'-$0.01',B'0000000000000000',B'000','(Infinity,NaN)',null,
  ' ','[]','[0:1]={1,2}','[2:3]={a,b}','{NaN,Infinity,-Infinity,-0}',null,null),
 (5,'0044-03-15 BC','00:00:00','00:00:00-15:59','0044-03-15 12:00:00 BC','4713-11-24 00:00:00 BC',
  '0044-03-15 12:00:00 BC','0044-03-15 12:00:00+00 BC','4713-11-24 00:00:00+00 BC','0001-12-31 23:59:59.5+00 BC',
  '-178000000 years','3.4028235e38','1.7976931348623157e308','-Infinity',-1,'0',B'0000000100000000',
  B'00000000000000001','(0.1,0.2)',null,null,null,'{NULL}','{NULL}','{1e22,5e-324}','{}','{t}'),
 (6,'1582-10-10','12:34:56.7','12:34:56.7+00:30','1500-02-28 23:59:59.9','1900-01-01','1500-02-28 23:59:59.999',
  '10000-01-01 00:00:00+00','294276-12-31 23:59:59+00','10000-01-01 00:00:00.1+00',
  '-1 year -2 mons +3 days -04:05:06.789','1.17549435e-38','4.9e-324',1e40,9999999999.99,null,null,null,null,null,null,
  null,null,null,null,null,null),
 (7,'5874897-12-31','00:00:01','00:00:00+00','294246-12-31 23:59:59.999999','294246-12-31 23:59:59',
  '294276-12-31 23:59:59.999','294276-12-31 23:59:59.999999+00',null,null,'29 days 23:59:59.999999','16777217',
  '123456789012345680','0.000000000000000001',1e5,null,null,null,null,null,null,null,null,null,null,null,null),
 (8,'1969-12-31','00:00:00.1','01:00:00.1+01','1969-12-31 23:59:59.9999','1969-12-31 23:59:59',
  '1969-12-31 23:59:59.999','1969-12-31 23:59:59.999999+00',null,null,'-1 microsecond','1e-7','1e-5','-1e-5',1.005,
  null,null,null,null,null,null,null,null,null,null,null,null),
 (9,'4713-11-24 BC',null,null,'294276-12-31 23:59:59.999999',null,null,'4713-11-24 00:00:00+00 BC',null,null,
  '1000 years 1.000001 seconds','1e7','1e7','-0.0',null,null,null,null,null,null,null,null,'{{1,2},{3,4}}','{{a,b},{c,d}}',null,
  '{NaN}','{{t},{f}}')
"""
STEPS: tuple[LiteralString, ...] = (
    # Written anew by the stream, and in full: with FULL no value comes as unchanged.
    "ALTER TABLE tipos DROP COLUMN gen",
    "ALTER TABLE tipos REPLICA IDENTITY FULL",
    "UPDATE tipos SET id = id + 100",
)

# (row, column): what is right. Debezium loses the era of dates in a snapshot, and takes the ten days that the Gregorian
# reform left out for later ones.
SNAPSHOT_BY_DEBEZIUM_IS_FALSE: Mapping[tuple[int, str], Any] = {
    (5, "dt"): -735160,
    (6, "dt"): -141432,
    (9, "dt"): -2440222,
}
# Debezium wraps what does not fit into 64 bits, counts intervals in doubles, gives nulls for an array in an array or for
# the whole of a numeric[] with a NaN, and in some arrays of text the address of a Java object; it cuts timetz[] to whole
# seconds, and has no arrays of an enum with a space in a label.
DEBEZIUM_IS_FALSE: Mapping[tuple[int, str], Any] = {
    (1, "a_tz"): ["15:00:00.5Z", None],
    (1, "a_en"): ["feliz", None, "com espaço"],
    (9, "ts"): 9224318015999999999,
    (9, "iv"): 31557600001000001,
    (9, "a_i4"): [[1, 2], [3, 4]],
    (9, "a_t"): [["a", "b"], ["c", "d"]],
    (9, "a_n"): ["NAN"],
    (9, "a_b"): [[True], [False]],
}
# While streaming Debezium has null or its own placeholder for values that the log does carry.
STREAM_BY_DEBEZIUM_IS_FALSE = frozenset(
    {"nm", "a_n", "a_t", "a_js", "a_jb", "a_ip", "a_rn", "a_rt", "a_rz", "a_rd", "a_hs"}
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def read_golden() -> dict[str, dict[int, dict[str, Any]]]:
    """The rows recorded from Debezium by op and by the row's number."""
    rows: dict[str, dict[int, dict[str, Any]]] = {"r": {}, "c": {}}
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["op"] in rows:
            rows[event["op"]][event["after"]["id"] % 100] = event["after"]
    return rows


def test_every_type_is_written_as_debezium_does(postgres: Postgres, aws: Aws, tmp_path: Path) -> None:
    aws.create_stream("types", 1)
    with psycopg.connect(postgres.dsn_admin, autocommit=True) as admin:
        admin.execute(EXTENSIONS)
        admin.execute("GRANT CREATE ON SCHEMA public TO app")
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(SETUP)
    folder = contracts(tmp_path / "tables", tipos="tipos")
    command = publisher(postgres, aws, "types", folder, tmp_path / "publisher.log")
    found = [record.value for record in published(postgres, command, aws, "types", STEPS) if record.value]
    golden = read_golden()
    differences = []
    for op, false in (("r", SNAPSHOT_BY_DEBEZIUM_IS_FALSE), ("c", {})):
        rows = {event["after"]["id"] % 100: event["after"] for event in found if event["op"] == op}
        assert rows.keys() == golden[op].keys() == set(range(1, 10))
        for number, row in rows.items():
            wanted = golden[op][number]
            for column, value in row.items():
                right = {**DEBEZIUM_IS_FALSE, **false}.get((number, column), wanted.get(column))
                if op == "c" and column in STREAM_BY_DEBEZIUM_IS_FALSE:
                    right = rows_read(found)[number][column]
                if column != "id" and not same(column, value, right):
                    differences.append((op, number, column, value, right))
    assert not differences, "\n".join(map(repr, differences))


def rows_read(found: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Our own rows of the backfill."""
    return {event["after"]["id"]: event["after"] for event in found if event["op"] == "r"}


def same(column: str, ours: Any, theirs: Any) -> bool:
    """Whether two values are equal, down to the sign of zero and to NaN."""
    if column == "r" and isinstance(ours, float) and isinstance(theirs, float):
        # Java and Postgres may write one float4 with more or fewer digits.
        return struct.pack("f", ours) == struct.pack("f", theirs)
    if column == "hs" and ours is not None and theirs is not None:
        return bool(json.loads(ours) == json.loads(theirs))  # Java's maps have no order
    return repr(ours) == repr(theirs)
