"""Packaged configurations: `tasks/` and `learners/`, one of each makes a run; `reproduce/`, whole runs of a paper."""
