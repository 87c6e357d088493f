"""
``make schedules``: explore every configuration, and say how many schedules and worlds there were.

Ends with 1 if any schedule breaks a property, after printing the shortest one as a test.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from functools import partial

from tests.schedules import bounds
from tests.schedules.explorer import as_test, explore
from tests.schedules.world import Budget

_say = partial(print, flush=True)


def _bound(text: str) -> Budget:
    names = dict.fromkeys(Budget._fields, 0)
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in names:
            message = f"{name!r} is none of {', '.join(names)}"
            raise argparse.ArgumentTypeError(message)
        names[name] = int(number)
    return Budget(**names)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--bound", type=_bound, help="for each kind, this bound alone: as faults=2,clears=1")
    parser.add_argument("--only", default="", help="the configurations whose name has this text")
    parser.add_argument("--short", action="store_true", help="what CI explores")
    arguments = parser.parse_args()
    configurations = bounds.short() if arguments.short else bounds.full()
    if arguments.bound:
        kinds = [kind.configuration for kind in bounds.kinds()]
        configurations = [it._replace(budget=arguments.bound) for it in dict.fromkeys(kinds)]
    began = time.monotonic()
    worlds = schedules = explored = violations = 0
    excuses: Counter[str] = Counter()
    for configuration in configurations:
        if arguments.only not in configuration.name:
            continue
        since = time.monotonic()
        found = explore(configuration, lambda count: _say(f"    {count:,} worlds so far"))
        _say(
            f"  {bounds.describe(configuration):<80} {found.schedules:>20,} schedules {found.worlds:>9,} worlds "
            f"{time.monotonic() - since:6.1f} s",
        )
        explored += 1
        worlds += found.worlds
        schedules += found.schedules
        excuses.update(found.excuses)
        if found.violation is not None:
            violations += 1
            _say(as_test(found))
    _say(
        f"{explored} configurations, {schedules:,} schedules, {worlds:,} distinct worlds, "
        f"{violations} violations, {time.monotonic() - began:.0f} s."
    )
    _say("Known limits, and in how many actions each showed itself:")
    for excuse, count in sorted(excuses.items()):
        _say(f"  {count:>9,}  {excuse}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(_main())
