"""The page: what it says, top to bottom, and its two forms, HTML and Markdown.

    report.py         the parts of a report in their order, and its files
    across.py         the losses over several data sets or models
    cross_setting.py  what belongs to no single setting: a metric over settings, and the losses
    figures.py        the figures of a section, each with its caption and alternative text
    provenance.py     where baselines come from, in words
    caveats.py        what to know before using a number, and the reproducibility checklist
    commands.py       the exact commands that a reader may type next
    answer.py         the losses in the order of their results, and the verdict on each
    tables.py         the tables of a section: a frame and its columns each
    render.py         parts, and how templates make HTML and Markdown of them
    table.py          a table as CSV, LaTeX and Markdown
    templates/        a template for each part, texts.jinja with the sentences that figures and
                      tables share, the page with its style and its script

A part's template is written once: it calls the macros of `ui`, which are html.jinja or
markdown.jinja. A new part is a template here and a `Part` in report.py.
"""
