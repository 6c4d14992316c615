"""A plan as people and machines read it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from insitu.topology import Topology
from insitu_operator.core.plan import Plan


def plan_table(plan: Plan, topology: Topology) -> RenderableType:
    """One line a rank, then the plan's notes and the database's warnings."""
    table = Table(title=f"Plan, generation {plan.generation}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("database node")
    table.add_column("address")
    table.add_column("shards", justify="right")
    table.add_column(_rows_heading(topology), justify="right")
    table.add_column("local", justify="right")
    for part in plan.ranks:
        node = topology.node.get(part.node)
        table.add_row(
            str(part.rank),
            part.node,
            f"{node.host}:{node.port}" if node else "gone",
            f"{len(part.shards):,}",
            f"{part.weight:,}" if topology.weights_known else "?",
            local_percent(len(part.shards), len(part.remote)),
        )
    notes = [Text(f"note: {note}") for note in plan.notes]
    notes += [Text(f"warning: {warning}", style="yellow") for warning in topology.warnings]
    return Group(table, *notes)


def plan_json(plan: Plan, topology: Topology) -> dict[str, object]:
    """The whole plan, shards included."""
    return {
        "generation": plan.generation,
        "topology": plan.topology,
        "rows": topology.rows,
        "weightsExact": topology.weights_exact,
        "imbalance": round(plan.imbalance, 6),
        "ranks": [
            {
                "rank": part.rank,
                "databaseNode": part.node,
                "address": _address(topology, part.node),
                "shards": list(part.shards),
                "remote": list(part.remote),
                "rows": part.weight if topology.weights_known else None,
            }
            for part in plan.ranks
        ],
        "notes": list(plan.notes),
        "warnings": list(topology.warnings),
    }


def local_percent(shards: int, remote: int) -> str:
    """Share of shards on the rank's own node; rounded down, because 100 % is a promise."""
    return f"{int(100 * (shards - remote) / shards)}%" if shards else "-"


def plan_lines(plan: Plan, topology: Topology) -> list[str]:
    """The plan in plain lines."""
    known = topology.weights_known
    lines = [
        f"rank {part.rank}: database node {part.node}, {len(part.shards)} shards,"
        f" {part.weight if known else 'an unknown number of'} rows,"
        f" {local_percent(len(part.shards), len(part.remote))} local"
        for part in plan.ranks
    ]
    return (
        lines
        + [f"note: {note}" for note in plan.notes]
        + [f"warning: {text}" for text in topology.warnings]
    )


def _rows_heading(topology: Topology) -> str:
    if topology.weights_exact:
        return "rows"
    return "rows (estimated)" if topology.weights_known else "rows (not known)"


def _address(topology: Topology, node: str) -> str | None:
    found = next((n for n in topology.nodes if n.id == node), None)
    return f"{found.host}:{found.port}" if found else None
