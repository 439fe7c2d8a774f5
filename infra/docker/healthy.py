"""Health check of a container: exit code 0 when the program in it answers `/healthz` with 200."""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException


def main() -> int:
    """Ask the program."""
    connection = HTTPConnection("127.0.0.1", int(os.environ["CDC_HTTP_PORT"]), timeout=4)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"/healthz does not answer: {type(error).__name__}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
