"""What AWS was asked to do, as `metered_aws` wrote it down."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """Everything between two looks at the meter, of Jobline's own functions and event source mappings."""

    calls: Counter[str]
    write_units: float


class Meter:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.settings = {"JOBLINE_METER": str(file)}
        """What the metered AWS needs in its environment."""

    def position(self) -> int:
        """A place in the record to read from later."""
        return self.file.stat().st_size

    def since(self, position: int, *, without: str) -> Reading:
        """What was asked after `position`; calls of functions whose name has `without` in it are left out."""
        with self.file.open() as file:
            file.seek(position)
            entries = [json.loads(line) for line in file]
        ours = [entry for entry in entries if ":root" not in entry["caller"] and without not in entry["caller"]]
        return Reading(Counter(entry["call"] for entry in ours), sum(entry["write_units"] for entry in ours))
