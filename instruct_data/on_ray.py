"""The same parts on Ray: on the cores of this machine, or on a cluster whose machines see the same folders."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray

from instruct_data.engine import Plan, make_part, parts


def run(plan: Plan, done: Callable[[int], object], workers: int | None = None, address: str | None = None) -> None:
    """Make all parts; at most two a core are under way, so that no machine's memory is asked for more.

    `address` is that of a running cluster ("auto" finds one on this machine); without it, `workers` processes are
    started here and ended afterwards.
    """
    whole = replace(plan, data=plan.data.absolute(), out=plan.out.absolute(),
                    evidence=plan.evidence.absolute() if plan.evidence else None)
    waiting = list(range(parts(whole)))[::-1]
    own = not ray.is_initialized()
    if own:
        ray.init(address=address, num_cpus=None if address else workers, include_dashboard=False,
                 log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    remote = ray.remote(make_part)
    most = 2 * int(ray.cluster_resources().get("CPU", 1))
    flying: dict[Any, int] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < most:
                number = waiting.pop()
                flying[remote.remote(whole, number)] = number
            ready, _ = ray.wait(list(flying))
            for one in ready:
                ray.get(one)
                done(flying.pop(one))
    finally:
        if own:
            ray.shutdown()
