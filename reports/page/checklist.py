"""The questions of reproducibility checklists, answered by the caveats of a section."""

from __future__ import annotations

from collections.abc import Sequence

from reports.page.caveats import Fact

CHECKLIST = {
    "How hyperparameters were chosen, from which range, with how many trials": (
        "Budget",
        "Early stopping",
        "Edges",
        "Own values",
    ),
    "Number of training runs, and what became of them": ("Runs", "Left out"),
    "Seeds, and their use for tuning and evaluation": ("Seeds",),
    "What runs share so that they can be compared in pairs": ("Pairing",),
    "The smallest difference that the runs can show": ("Detectable",),
    "Code and its version": ("Code",),
    "Versions of the dependencies": ("Versions",),
    "Computing infrastructure": ("Machine",),
    "Run time": ("Wall time",),
}
"""Questions of reproducibility checklists, and the facts that answer them."""


def checklist(facts: Sequence[Fact], words: Sequence[str]) -> list[dict[str, object]]:
    """The questions with their answers; done: there is an answer, and it is no alarm."""
    items: list[dict[str, object]] = [
        {"question": "Data, network and optimizer", "answer": ", ".join(words), "done": True}
    ]
    for question, terms in CHECKLIST.items():
        answers = [fact for fact in facts if fact.term in terms]
        answer = " ".join(fact.text for fact in answers) or "not recorded."
        done = bool(answers) and not any(fact.alarm for fact in answers)
        items.append({"question": question, "answer": answer, "done": done})
    return items
