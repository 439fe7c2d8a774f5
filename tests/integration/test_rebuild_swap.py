"""`cdc rebuild --swap` cut off anywhere: it is recognised, finished, and nothing of either table is lost."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.errors import FatalFault
from tests.compactor_world import World
from tests.integration.test_rebuild import KEY, lived, lost, namespace, rebuild

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("done", range(4))
def test_a_swap_that_was_cut_off_is_finished(world: World, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    lived(world)
    right, made_anew = world.rows(), rebuild(world)
    names = namespace(world)
    steps = 0
    drop = world.catalog.drop_table

    def cut_off(*arguments: Any) -> Any:
        nonlocal steps
        if steps == done:
            raise KeyboardInterrupt
        steps += 1
        return drop(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(world.catalog, "drop_table", cut_off)
        with pytest.raises(KeyboardInterrupt):
            names.swap(world.contract.name, made_anew.name)
    assert names.is_swap_cut_off(made_anew.name)
    with pytest.raises(FatalFault, match="swap of this table was cut off"):
        rebuild(world)
    assert names.unfinished(world.contract.name) == made_anew.name
    names.swap(world.contract.name, made_anew.name)
    assert names.unfinished(world.contract.name) is None
    assert world.rows() == right
    world.restart().step()
    assert world.rows() == right


def test_a_table_that_a_compactor_made_during_a_swap_is_not_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(world)
    made_anew = rebuild(world)
    names = namespace(world)
    drop, steps = world.catalog.drop_table, iter(range(10))

    def after_two(*arguments: Any) -> Any:
        if next(steps) == 2:
            raise KeyboardInterrupt
        return drop(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(world.catalog, "drop_table", after_two)
        with pytest.raises(KeyboardInterrupt):
            names.swap(world.contract.name, made_anew.name)
    world.pair()  # makes both tables, empty
    with pytest.raises(FatalFault, match="taken by another table"):
        names.swap(world.contract.name, made_anew.name)


@pytest.mark.parametrize("done", [0.5, 1, 1.5])
@pytest.mark.parametrize("suffixes", [("", "_history"), ("",)])
def test_a_swap_that_puts_a_table_where_none_is_is_finished_when_it_was_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch, suffixes: tuple[str, ...], done: float
) -> None:
    lived(world)
    right, history = world.rows(), [entry[:3] for entry in world.history()]
    lost(world, *suffixes)
    made_anew = rebuild(world)
    names, before = namespace(world), [name for name in ("", "_history") if name not in suffixes]
    moved = 0.0

    def counted(call: Any) -> Any:
        def counting(*arguments: Any) -> Any:
            nonlocal moved
            if moved == done + len(before):
                raise KeyboardInterrupt
            moved += 0.5
            return call(*arguments)

        return counting

    with monkeypatch.context() as patched:
        for step in ("register_table", "drop_table"):
            patched.setattr(world.catalog, step, counted(getattr(world.catalog, step)))
        with pytest.raises(KeyboardInterrupt):
            names.swap(world.contract.name, made_anew.name)
    assert names.is_swap_cut_off(made_anew.name)
    with pytest.raises(FatalFault, match="swap of this table was cut off"):
        rebuild(world)
    names.swap(world.contract.name, made_anew.name)
    assert names.unfinished(world.contract.name) is None
    assert (world.rows(), [entry[:3] for entry in world.history()]) == (right, history)
    kept = [identifier[-1] for identifier in world.catalog.list_tables("lake") if "__before_" in identifier[-1]]
    assert len([name for name in kept if name.startswith(world.contract.name + "__")]) == len(before)


def test_a_rebuild_that_was_cut_off_before_it_had_a_history_is_no_swap(world: World) -> None:
    lived(world)
    lost(world, "")
    made_anew = rebuild(world)
    names = namespace(world)
    names.give_up(made_anew.name)
    pair = names.pair(world.contract, KEY, made_anew.name)
    world.catalog.purge_table(pair.history.identifier)
    assert not names.is_swap_cut_off(made_anew.name)
    assert rebuild(world).rows == 4
