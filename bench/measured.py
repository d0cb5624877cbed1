# Copyright (c) 2026 the otpool authors. MIT licence.
"""Shared by the scripts that make a table of the JSON that a benchmark wrote."""

import argparse
import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def read(description, program):
    """The JSON that `program` wrote, from the file that the command line names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help=f"the JSON that {program} wrote")
    measured = parser.parse_args().measured
    if not measured.exists():
        parser.error(f"{measured} does not exist; {program} --help says how to make it")
    return json.loads(measured.read_text())
