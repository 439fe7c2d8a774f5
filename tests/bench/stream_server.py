"""A stream that is far ahead: Kinesis's API over HTTP, whose shards hold the same page of records again and again.

It answers as fast as it is asked. Real emulators hold what was put into them, and two million records are too many for
that. Source of the shapes: the Kinesis API model in botocore.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CREATED_AT = 1_795_262_400
_SEQUENCE_NUMBER_FIRST = 49680427872712061244468797459882596227026785126995460114
_KEYS_PER_SHARD = 2**120


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard of `pages` pages, each of these records, which hold so many changes in all."""

    page: Sequence[bytes]
    changes: int
    pages: int


@dataclass(slots=True)
class Stream:
    """Shards by id, and how many changes were given out."""

    shards: Mapping[str, Shard]
    changes_given: int = 0
    bytes_given: int = 0
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, operation: str, request: Mapping[str, Any]) -> bytes:
        """The body of the answer to one call."""
        match operation:
            case "DescribeStreamSummary":
                summary = {
                    "StreamName": request["StreamName"],
                    "StreamARN": "arn:aws:kinesis:sa-east-1:000000000000:stream/far-ahead",
                    "StreamStatus": "ACTIVE",
                    "RetentionPeriodHours": 24 * 365,
                    "StreamCreationTimestamp": CREATED_AT,
                    "EnhancedMonitoring": [],
                    "OpenShardCount": len(self.shards),
                }
                return json.dumps({"StreamDescriptionSummary": summary}).encode()
            case "ListShards":
                return json.dumps({"Shards": [_listed(number, id_) for number, id_ in enumerate(self.shards)]}).encode()
            case "GetShardIterator":
                return json.dumps({"ShardIterator": f"{request['ShardId']}/{self._page_after(request)}"}).encode()
            case "GetRecords":
                return self._page(request["ShardIterator"])
        raise ValueError(operation)

    def _page_after(self, request: Mapping[str, Any]) -> int:
        """The page that follows a sequence number, which is the last of a page."""
        if request["ShardIteratorType"] == "TRIM_HORIZON":
            return 0
        read = int(request["StartingSequenceNumber"]) - _SEQUENCE_NUMBER_FIRST + 1
        return read // len(self.shards[request["ShardId"]].page)

    def _page(self, iterator: str) -> bytes:
        id_, _, page_text = iterator.partition("/")
        shard, number = self.shards[id_], int(page_text)
        if number >= shard.pages:
            return json.dumps({"Records": [], "NextShardIterator": iterator, "MillisBehindLatest": 0}).encode()
        first = _SEQUENCE_NUMBER_FIRST + number * len(shard.page)
        records = ",".join(
            f'{{"SequenceNumber":"{first + place}","ApproximateArrivalTimestamp":{CREATED_AT + number},'
            f'"PartitionKey":"key","Data":"{data.decode()}"}}'
            for place, data in enumerate(shard.page)
        )
        behind = 0 if number + 1 == shard.pages else (shard.pages - number) * 1000
        with self.lock:
            self.calls += 1
            self.changes_given += shard.changes
            self.bytes_given += sum(map(len, shard.page)) * 3 // 4
        following = f"{id_}/{number + 1}"
        return f'{{"Records":[{records}],"NextShardIterator":"{following}","MillisBehindLatest":{behind}}}'.encode()


def shard_of(records: Sequence[bytes], changes: int, pages: int) -> Shard:
    """A shard whose page is these records."""
    return Shard([base64.b64encode(data) for data in records], changes, pages)


def _listed(number: int, id_: str) -> dict[str, Any]:
    keys = {
        "StartingHashKey": str(number * _KEYS_PER_SHARD),
        "EndingHashKey": str((number + 1) * _KEYS_PER_SHARD - 1),
    }
    return {
        "ShardId": id_,
        "HashKeyRange": keys,
        "SequenceNumberRange": {"StartingSequenceNumber": str(_SEQUENCE_NUMBER_FIRST)},
    }


@contextmanager
def serving(stream: Stream) -> Iterator[str]:
    """Answer on a free port of 127.0.0.1 while inside; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = stream.answer(operation, json.loads(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            """Calls are counted, not logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
