"""`python -m tests.simulator plan.json`: runs one plan, and says what came of it."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.simulator.judge import complaints
from tests.simulator.plans import Plan
from tests.simulator.world import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--log", action="store_true", help="what the operator logs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.log else logging.CRITICAL)
    plan = Plan.read(arguments.plan)
    outcome = run(plan)
    faults = {fault.write: fault.kind for fault in plan.faults}
    for number, write in enumerate(outcome.writes):
        print(f"{number:4} {write}" + (f"  <- {faults[number]}" if number in faults else ""))
    for name, end in outcome.ends.items():
        print(f"{name}: {end}")
    print(f"ended after {outcome.seconds:g} s of the cluster's time")
    wrong = complaints(plan)
    for problem in wrong:
        print(f"WRONG: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
