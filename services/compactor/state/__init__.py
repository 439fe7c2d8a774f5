"""State: the present rows of a table out of raw alone, without catalog, lake or index: a second way to the same rows.

`current` tells how; `compactor.change`, `fold` and `merge` are the law here as they are in the compactor.
"""

from compactor.state.current import Current, current_state
from compactor.state.export import export

__all__ = ["Current", "current_state", "export"]
