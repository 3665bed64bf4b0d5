"""The page: what it says, top to bottom, and its two forms, HTML and Markdown.

    report.py         the parts of a report in their order
    section.py        the parts of one setting in their order
    collector.py      numbers figures and tables
    drawings.py       draws figures for the page and for files, in two processes
    across.py         the losses over several data sets or models
    cross_setting.py  what belongs to no single setting: a metric over settings, and the losses
    figure.py         a figure with its texts, and what the figures of a setting share
    figures.py        figures of results, each with its caption and alternative text
    curve_figures.py  the same over epochs
    error_figures.py  the same about classes and images
    under_way.py      progress of a sweep, and the curves of runs that go on
    provenance.py     where baselines come from, in words
    caveats.py        what to know before using a number
    methods.py        what the verdicts of a setting rest on, in words
    commands.py       the exact commands that a reader may type next
    more_runs.py      those for runs that would decide, or are missing
    answer.py         the losses in the order of their results, and the verdict on each
    tables.py         the tables of a section: a frame and its columns each
    render.py         parts, and how templates make HTML and Markdown of them
    table.py          a table as CSV, LaTeX and Markdown
    templates/        a template for each part, texts.jinja with the sentences that figures and
                      tables share, the page with its style and its script

A part's template is written once: it calls the macros of `ui`, which are html.jinja or
markdown.jinja. A new part is a template here and a `Part` in section.py.
"""
