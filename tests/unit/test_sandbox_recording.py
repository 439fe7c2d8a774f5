from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cdc.contract import load_folder
from cdc.decode import decode
from cdc_ops.replay_record import decode_line
from sandbox.containers import positions
from sandbox.recording import DAY, moment, spread

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ROOT / "infra" / "docker" / "recordings" / "dia.jsonl.gz"


def line(op: str, key: int, lsn: int, arrived_at: str = "2026-11-21T10:00:00.000Z") -> bytes:
    row = {"id": key, "nome": "Zoë  \u2028"}
    event = {
        "before": row if op == "d" else None,
        "after": None if op == "d" else row,
        "op": op,
        "source": {"lsn": lsn},
    }
    head = f'{{"stream":"s","shard":"0","seq":"1","sub":0,"arrived_at":"{arrived_at}","event":'
    return (head + json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "}\n").encode()


def test_a_day_is_busiest_at_noon_and_holds_all() -> None:
    moments = [moment(number / 1000) for number in range(1001)]
    assert moments == sorted(moments)
    assert moments[0] < 0.001
    assert abs(moments[500] - 0.5) < 0.001
    assert moments[1000] > 0.999
    by_hour = [sum(hour <= 24 * at < hour + 1 for at in moments) for hour in range(24)]
    assert max(by_hour) in by_hour[11:13]
    assert min(by_hour) in (by_hour[0], by_hour[23])


def test_only_the_time_of_arrival_becomes_another() -> None:
    day = datetime(2026, 1, 2, tzinfo=UTC)
    lines = [line("c", number, number) for number in range(50)]
    given = list(spread(lines, day))
    times = [datetime.fromisoformat(json.loads(one)["arrived_at"]) for one in given]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[0] >= day
    assert times[-1] < day + timedelta(days=1)
    restored = [
        one.replace(json.loads(one)["arrived_at"].encode(), json.loads(old)["arrived_at"].encode())
        for one, old in zip(given, lines, strict=True)
    ]
    assert restored == lines


def test_a_recording_adds_up_to_the_rows_that_live_each_at_its_newest_change() -> None:
    lines = [
        line("r", 1, 90),
        line("r", 2, 90),
        line("u", 1, 50),  # streamed with a lower LSN than the read has, and yet newer
        line("d", 2, 60),
        line("c", 3, 70),
        line("u", 3, 65),  # late
        line("d", 4, 80),
        line("c", 4, 81),
    ]
    assert positions(lines) == {1: 50, 3: 70, 4: 81}


def test_the_recording_that_is_shipped_is_a_day_of_changes_that_can_be_replayed() -> None:
    (contract,) = load_folder(ROOT / "tables")
    lines = gzip.decompress(SHIPPED.read_bytes()).splitlines()
    records = [decode_line(one, SHIPPED.name, number) for number, one in enumerate(lines, start=1)]
    times = [record.arrived_at for record in records]
    assert times == sorted(times)
    assert DAY <= times[0] < times[-1] < DAY + timedelta(days=1)
    events = [event for record in records for event in decode(record.payload, contract, 1)]
    assert {event.op.name for event in events} >= {"READ", "CREATE", "UPDATE", "DELETE"}
    assert len(positions(lines)) > 500
