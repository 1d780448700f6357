"""Which split of the dataset a row belongs to (SPEC T2): over the index alone.

Rows that share a task or a prompt, directly or through others, share a split. The split is
drawn by a hash of the group: no seed, no order.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stillhouse.index import Blocks, halves, numbered
from stillhouse.spill import U8, U64, Spill

SPLIT_THOUSANDTHS: Final = (900, 950, 1000)
"""Upper bounds of the splits in thousandths: 90 %, 5 %, 5 % of the groups."""

_LINK: Final = np.dtype([("task", "<u8"), ("prompt", "<u8")])


def rule_splits(blocks: Blocks, split: U8, spill: Spill) -> None:
    """Rows that share a task or a prompt, directly or through others, share a split.

    Most prompts belong to one task. Only prompts shared by several tasks can tie tasks
    together, and only tasks with two such prompts can tie prompts together: the graph that
    has to be held in memory is that small core.
    """
    by_prompt = spill.buckets("prompts", _LINK)
    for rows in blocks():
        links = np.empty(len(rows), dtype=_LINK)
        links["task"], links["prompt"] = halves(rows, "task")[0], halves(rows, "prompt")[0]
        links = np.unique(links)
        by_prompt.add(links["prompt"], links)
    shared = spill.buckets("shared", _LINK)
    for links in by_prompt:
        links = np.unique(links)
        _, inverse, count = np.unique(links["prompt"], return_inverse=True, return_counts=True)
        several = links[count[inverse] > 1]
        shared.add(several["task"], several)
    tied: list[npt.NDArray[Any]] = []
    core: list[npt.NDArray[Any]] = []
    for links in shared:
        _, inverse, count = np.unique(links["task"], return_inverse=True, return_counts=True)
        core.append(links[count[inverse] > 1])
        tied.append(links)
    root = _Roots(np.concatenate(core) if core else np.zeros(0, dtype=_LINK))
    links = np.concatenate(tied) if tied else np.zeros(0, dtype=_LINK)
    tasks, first = np.unique(links["task"], return_index=True)
    labels = root.of(links["prompt"][first])
    for base, rows in numbered(blocks):
        task = halves(rows, "task")[0]
        label = task.copy()
        if len(tasks):
            at = np.minimum(np.searchsorted(tasks, task), len(tasks) - 1)
            known = tasks[at] == task
            label[known] = labels[at[known]]
        split[base : base + len(rows)] = split_codes(label)


class _Roots:
    """The representative (least) prompt of every connected component of the core."""

    def __init__(self, links: npt.NDArray[Any]) -> None:
        self._prompts, prompt = np.unique(links["prompt"], return_inverse=True)
        tasks, task = np.unique(links["task"], return_inverse=True)
        self._labels = self._prompts
        if len(links):
            # Slow to import, and most lakes have no such core.
            from scipy.sparse import coo_array
            from scipy.sparse.csgraph import connected_components

            nodes = len(self._prompts) + len(tasks)
            ones = np.ones(len(links), dtype=np.int8)
            graph = coo_array((ones, (prompt, task + len(self._prompts))), shape=(nodes, nodes))
            _, component = connected_components(graph, directed=False)
            component = component[: len(self._prompts)]
            # Prompts are sorted, so the first one of a component is its least.
            _, first = np.unique(component, return_index=True)
            least = np.zeros(int(component.max()) + 1, dtype=np.uint64)
            least[component[first]] = self._prompts[first]
            self._labels = least[component]

    def of(self, prompts: U64) -> U64:
        """The representative of each prompt: itself when it is not in the core."""
        if not len(self._prompts):
            return prompts
        at = np.minimum(np.searchsorted(self._prompts, prompts), len(self._prompts) - 1)
        return np.where(self._prompts[at] == prompts, self._labels[at], prompts)


def split_codes(labels: U64) -> U8:
    """Positions in `SPLITS` by a hash of the group's label (the splitmix64 finaliser of
    Steele, Lea and Flood 2014): the least label of a large group is no fair draw itself."""
    mixed = labels.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.searchsorted(SPLIT_THOUSANDTHS, mixed % np.uint64(1000), side="right").astype(
        np.uint8
    )
