"""The parts that all back ends share: the job and its folder, profiles, quoting, secrets, time limits of calls."""
