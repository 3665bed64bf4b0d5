"""The figures: frames and arrays in, matplotlib Figures out. Computes no statistics, saves nothing.

    palette.py      how everything looks: the colour of each loss, the type, SVG that a page can tint
    drawing.py      what figures share: the canvas, labels, limits, ticks
    curves.py       accuracy and own loss as training goes on, and the effect of longer training
    rates.py        every loss at every learning rate
    comparisons.py  the last epoch's numbers, the differences and their verdicts
    pictures.py     classes and single images

A new figure is a function here, a method in `reports.page.illustrations` and its place in `reports.page.outline`.
"""
