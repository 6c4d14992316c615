"""`python -m benchmarks`: measures on real servers and prints one JSON line per result."""

from __future__ import annotations

import argparse
import json

from benchmarks import cassandra_read, ignite_read, planner, tensorflow_feed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds, to see that it runs; no real numbers"
    )
    arguments = parser.parse_args()
    for database in (ignite_read, cassandra_read):
        plan = database.quick_plan() if arguments.quick else database.full_plan()
        for result in database.run(plan):
            print(result.line(), flush=True)
    feed = tensorflow_feed.quick_plan() if arguments.quick else tensorflow_feed.full_plan()
    for result in tensorflow_feed.run(feed):
        print(result.line(), flush=True)
    if not arguments.quick:
        for line in planner.lines():
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
