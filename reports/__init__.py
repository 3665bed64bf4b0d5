"""Many runs: MLflow in, verdicts, tables and figures out.

docs/architecture.md has the map of the files.

Import rule: `metrics`, `names` and `processes` import nothing of the package; `stats`,
`error_analysis` and `figures` nothing but themselves and these; `gallery` and `source_code` nothing
but `names` and `runs.versions`; `secondary_metrics` draws on `stats`, `question` on `metrics`,
`analysis` on these and `error_analysis`, `same_loss` and `sensitivity` on `analysis`, `across` on
these and `verdicts`, `page` on all of these; only `generate`, `making`, `request`, `tasks`,
`printing` and `watch` join them to `runs` and `files`, `compare` knows `runs` and `names`. Only
`runs` and `compare` read MLflow, only `files` writes to it. Of `experiments`, `contract`,
`credentials`, `places` and `terminal` may be imported, and, inside the function that needs them,
`comparison`, `data`, `losses`, `heads`, `metrics` and `source_digest`.
This file imports nothing, so that `from reports.runs import load` costs what it needs and no more.
"""
