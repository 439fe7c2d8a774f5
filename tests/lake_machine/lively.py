"""Lively runs of the machine: something happens all the time. Hypothesis, that looks for small runs, makes few such."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.lake_machine.effects import FOREIGN
from tests.lake_machine.lake import Readers, local_catalog
from tests.lake_machine.machine import LakeMachine
from tests.lake_machine.mishaps import MISHAPS


def prepare(machine: type[LakeMachine], folder: Path) -> None:
    """Give a machine its lake, in a folder, and nothing done yet."""
    machine.catalog, machine.numbers, machine.done = local_catalog(folder), itertools.count(), Counter()
    machine.readers = Readers(tuple(name for name, _ in machine.key_columns))


def lively_run(machine: type[LakeMachine], seed: int, acts: int = 30) -> LakeMachine:
    """A run in which something happens all the time; one seed is one run, whatever ran before."""
    dice, world, before = random.Random(seed), machine(), Counter(machine.done)

    def rarest(names: tuple[str, ...], prefix: str = "") -> str:
        """What has happened least in this run, and would come first in it, so that everything does in a few runs."""
        place = {name: (number - 3 * seed) % len(names) for number, name in enumerate(names)}
        return min(names, key=lambda name: (machine.done[prefix + name] - before[prefix + name], place[name]))

    try:
        world.snapshot(dice)
        for _ in range(acts):
            _act(world, dice, rarest)
    finally:
        world.teardown()
    return world


def _act(world: LakeMachine, dice: random.Random, rarest: Callable[..., str]) -> None:
    place, some = dice.randrange(6), dice.randrange(1, 40)
    acts: tuple[tuple[int, Callable[[], object]], ...] = (
        *world.acts(dice),
        (4, lambda: world.deliver(dice)),
        (2, lambda: world.beat(dice)),
        (5, world.step),
        (2, world.restart),
        (2, world.rival_steps),
        (3, lambda: world.maintain(1 + some % 4, dice.random() < 0.4)),
        (2, lambda: world.resend(place, some, 1 + some % 8)),
        (2, lambda: world.resend_of_the_deleted(place, dice)),
        (1, lambda: world.reshard(place, dice.choice([place, dice.randrange(6)]), dice)),
        (2, lambda: world.read_the_past(dice)),
        (1, lambda: world.zombie(place, some, 1 + some % 8)),
        (3, lambda: world.late_batch(place, 1 + some % 2, dice)),
        (1, lambda: world.damage(some, some)),
        (1, lambda: world.poison(place)),
        (3, lambda: world.foreign_commit(rarest(FOREIGN, "foreign "))),
        (6, lambda: world.mishap(rarest(MISHAPS), dice)),
    )
    dice.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()
