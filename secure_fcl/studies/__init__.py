"""A study: a grid of runs, resumable, with one table and one plot; or the best of it, privately chosen."""

from __future__ import annotations

from secure_fcl.studies.choice import Choice
from secure_fcl.studies.choosing import Chosen, choose
from secure_fcl.studies.grid import AXES, Cell, Study, load_study, open_study, study_of
from secure_fcl.studies.notes import status
from secure_fcl.studies.running import Outcome, conduct, run_study

__all__ = [
    "AXES",
    "Cell",
    "Choice",
    "Chosen",
    "Outcome",
    "Study",
    "choose",
    "conduct",
    "load_study",
    "open_study",
    "run_study",
    "status",
    "study_of",
]
