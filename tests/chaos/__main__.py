"""``python -m tests.chaos --rounds 20 --sink parquet --seed 1``: a line of JSON a round; 1 if one is not ok."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import get_args

from tests.chaos.job import SinkKind
from tests.chaos.rounds import VICTIMS, Harness, Plan


def main() -> int:
    """Carry the rounds out; the folder stays where one is not ok, with the logs of its runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first round, to go on from")
    parser.add_argument("--sink", choices=get_args(SinkKind), default="parquet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--victim", choices=(*VICTIMS, "host"), help="kill this one alone")
    chosen = parser.parse_args()
    victims = [chosen.victim] if chosen.victim else [*VICTIMS, *(["host"] if chosen.sink == "folder" else [])]
    # Each comes up as often as the others.
    Random(chosen.seed).shuffle(victims)
    folder = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
    all_ok = True
    with Harness(folder, chosen.sink, chosen.rows) as harness:
        for number in range(chosen.first, chosen.first + chosen.rounds):
            random = Random(f"{chosen.seed} {chosen.sink} {number}")
            plan = Plan.draw(random, victims[number % len(victims)])
            outcome = harness.carry_out(number, plan, random)
            print(json.dumps({"seed": chosen.seed, **outcome}, ensure_ascii=False), flush=True)
            all_ok = all_ok and outcome["ok"]
    if all_ok:
        shutil.rmtree(folder)
    else:
        print(f"the rounds that were not ok are in {folder}", file=sys.stderr)
    return 0 if all_ok else 1


if __name__ == "__main__":
    sys.exit(main())
