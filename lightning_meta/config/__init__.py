"""Configuration of runs: merging of YAML files, building of objects, and readable errors of the parser."""
