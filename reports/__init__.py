"""Many runs: MLflow in, verdicts, tables and figures out.

The map, in the order in which a report is made:

    generate.py  the command: load, summarise, plot, write
    request.py   the runs, the question and the sections that its options ask for
    tasks.py     its other tasks: check an earlier report, keep baselines, a loss against itself
    printing.py  notes and verdicts in the terminal
    options.py   the options of a report: types and checks
    compare.py   what differs between two runs, printed
    watch.py     the page of a sweep under way, until it has ended
    runs/        the only reader of MLflow: a store in, tidy frames out; for notebooks too
    baselines/   runs of every loss of the suite, for comparison with one of your own; data that a
                 command makes again
    stats/       intervals, tests, verdicts: frames in, frames out
    error_analysis.py  what the networks got wrong, class by class and image by image
    metrics.py   the metrics by which losses can be compared: names, words, units, directions
    secondary_metrics.py  what is measured besides accuracy, in which table; frames by epoch and
                          corruption
    analysis.py  everything a report says about one setting, as frames
    question.py  what a report asks of the runs, and whether it was declared before them
    same_loss.py a loss against itself
    setting_frames.py  the parts of that: runs shown, curves, means
    sensitivity.py the losses over a number in which settings differ
    across.py    the losses over data sets or models: verdicts, words, file, check
    source_code.py the code that computed the runs, in words
    gallery.py   the losses themselves: the weight of the gradient, and the value
    texts.py     texts of templates, on one line each
    sentences.py verdicts in words
    verdicts.py  verdicts as a file, and the check that they still hold
    names.py     names for people, whatever characters they have
    processes.py forks, for what can be computed side by side
    figures/     frames in, figures out
    page/        the text, the tables and the figures in their order; HTML and Markdown
    files.py     where a report goes: its directory, and its copy in MLflow

Import rule: `metrics`, `names` and `processes` import nothing of the package; `stats`, `error_analysis` and
`figures` nothing but themselves and these; `gallery` and `source_code` nothing but `names` and
`runs.versions`; `secondary_metrics` draws on `stats`, `question` on `metrics`, `analysis` on these
and `error_analysis`, `same_loss` and `sensitivity` on `analysis`, `across` on these and `verdicts`,
`page` on all of these; only `generate`, `request`, `tasks`, `printing` and `watch` join them to
`runs` and `files`, `compare` knows `runs` and `names`. Only `runs` and `compare` read MLflow, only
`files` writes to it. Of `experiments`, `contract`, `credentials`, `places` and `terminal` may be
imported, and, inside the function that needs them, `comparison`, `data`, `losses`, `heads`,
`metrics` and `source_digest`.
This file imports nothing, so that `from reports.runs import load` costs what it needs and no more.
"""
