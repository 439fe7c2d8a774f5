"""Known bugs are planted by patches: each must still find the code that it would spoil."""

from __future__ import annotations

import pytest

from tests.integration.test_planted_bugs import BY_MACHINE
from tests.lake_machine.plants import Plant


@pytest.mark.parametrize("plant", [plant for plant, _ in BY_MACHINE], ids=[plant.__name__ for plant, _ in BY_MACHINE])
def test_a_plant_finds_what_it_spoils(plant: Plant) -> None:
    with pytest.MonkeyPatch.context() as patches:
        plant(patches)
        assert patches._setattr, "nothing was planted"
