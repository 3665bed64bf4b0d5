"""One experiment: configuration in, metrics in MLflow out.

docs/architecture.md has the map of the files and the life of a run. Import rules: `guards`, `heads`
and `data` import nothing else of the package, `losses` only `guards`; `training` knows neither
Hydra nor MLflow; only `tracking` writes to MLflow; nothing here imports `reports`. This file has no
imports, so that `import experiments.losses` costs only what it needs.
"""
