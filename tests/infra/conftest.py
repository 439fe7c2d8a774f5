"""infra/terraform, applied once to a moto server for all tests that look at what it made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.infra.terraform_tools import ACCOUNT, Account, apply, moto


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account with the system of production in it."""
    with moto(tmp_path_factory.mktemp("moto")) as account:
        investigators = f'["arn:aws:iam::{ACCOUNT}:user/privacy"]'
        yield apply(account, {"alarm_emails": '["oncall@example.com"]', "investigators": investigators})
