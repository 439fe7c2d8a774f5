from __future__ import annotations

import http.client
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from sandbox.requests_counted import RequestsCounted, operation_of, place_of


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("PUT", "/lake/raw/_tips/s/0.json", "PutObject"),
        ("PUT", "/lake/a?partNumber=1&uploadId=u", "UploadPart"),
        ("POST", "/lake/a?uploads", "CreateMultipartUpload"),
        ("POST", "/lake/a?uploadId=u", "CompleteMultipartUpload"),
        ("POST", "/lake?delete", "DeleteObjects"),
        ("GET", "/lake?list-type=2&prefix=raw%2F", "ListObjectsV2"),
        ("GET", "/lake/raw/_batches/s/0/1~0.json", "GetObject"),
        ("HEAD", "/lake/a", "HeadObject"),
        ("DELETE", "/lake/a", "DeleteObject"),
        ("PUT", "/lake", "CreateBucket"),
    ],
)
def test_an_operation_of_s3_is_told_by_method_and_query(method: str, target: str, operation: str) -> None:
    assert operation_of(method, target, {}) == operation


def test_other_operations_are_named_in_the_header() -> None:
    assert operation_of("POST", "/", {"x-amz-target": "Kinesis_20131202.PutRecords"}) == "PutRecords"


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/lake/raw/_batches/s/0/1~0.json", "raw/_batches"),
        ("/lake?list-type=2&prefix=raw%2F_tips%2F", "raw/_tips"),
        ("/lake/warehouse/lake.db/usuarios/metadata/a.avro", "lake.db/usuarios/metadata"),
        ("/lake/warehouse/lake.db/usuarios/data/cdc_day=1/a.parquet", "lake.db/usuarios/data"),
        ("/lake/quarantine/no-key/a", "quarantine"),
    ],
)
def test_a_place_is_a_zone_or_a_table(target: str, place: str) -> None:
    assert place_of(target) == place


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = b"got " + body
        self.send_response(201)
        self.send_header("ETag", "e")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "17")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_request_goes_through_as_it_is_and_is_counted(upstream: int) -> None:
    with RequestsCounted(upstream) as requests:
        port = int(requests.endpoint_url.rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("PUT", "/lake/raw/_tips/s/0.json", body=b"tip")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("ETag"), answer.read()) == (201, "e", b"got tip")
        connection.request("PUT", "/lake/raw/_tips/s/0.json", body=iter([b"in ", b"chunks"]))
        assert connection.getresponse().read() == b"got in chunks"
        connection.request("HEAD", "/lake/raw/_tips/s/0.json")
        head = connection.getresponse()
        assert head.getheader("Content-Length") == "17"
        connection.close()
        assert requests.snapshot() == {("PutObject", "raw/_tips"): 2, ("HeadObject", "raw/_tips"): 1}
