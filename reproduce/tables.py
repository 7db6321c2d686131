"""All tables by their names on the command line."""

from reproduce.mti_tables import MTI_TABLES
from reproduce.own_tables import DECODERS, OWN_TABLES, decoders_table
from reproduce.rock_tables import ROCK_TABLES
from reproduce.table import Table
from rock_d2.tasks import PAPER_TASKS

ELSEWHERE = {"4": "table 4 (size and speed) comes from tools/analyze_model.py --latency"}


def find_table(name: str) -> Table:
    """Return the table of that name; raise ValueError if there is none."""
    if name == DECODERS:
        return decoders_table(PAPER_TASKS)
    tables = {table.name: table for table in (*ROCK_TABLES, *OWN_TABLES, *MTI_TABLES)}
    if name not in tables:
        known = f"there are {', '.join(tables)} and {DECODERS}"
        raise ValueError(f"{ELSEWHERE.get(name, f'{name!r} is no table')}; {known}")
    return tables[name]
