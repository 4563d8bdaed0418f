"""What do they answer? Two or three fine-tuned models beside each other on sentences that somebody types."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pmb import settings
from pmb.bounds import MOST_TRIED, MOST_TRIED_CHARACTERS
from pmb.catalog.tasks import Task
from pmb.charts import tried as charts
from pmb.errors import PmbError
from pmb.insight import tried
from pmb.insight.estimate import duration
from pmb.lab import tries
from pmb.lab.answer import command_of
from pmb.lab.dev import known_dev_labels
from pmb.lab.exports import kept_weights
from pmb.lab.queue import spec_of_row
from pmb.lab.results import predictions_of
from pmb.lab.store import Row, change_mark, runs_by_key
from pmb.lab.tries import Texts, Tries
from pmb.screen import beside, controls, take, ui, view
from pmb.spec import Tried
from pmb.wording import counted

# =============================================================================
# Constants
# =============================================================================

EXAMPLES = 5  # dev sentences at a time
SHORT_CHARACTERS = 70  # of a sentence in a list
ONE_A_LINE = f"One a line, at most {MOST_TRIED}, each of at most {MOST_TRIED_CHARACTERS:,} characters."
HINT = "Type a sentence and press Answer"
METHOD = """\
Each answers with the weights of one run, that of its lowest seed; other seeds may answer differently. \
**Probability**: the softmax of what the model gives; a fine-tuned model is often surer than it is right. \
**By layer**: a linear classifier on the sentence token behind each layer that is kept, fitted to the sentences that \
the model was fine-tuned on; the ring is the model's own answer. It shows what could be read there, not what the \
model does. \
**Time**: the first sentence alone, on the CPU of this machine with all that it does besides; the median of \
{timings} forward passes, the models in turn. How much faster a cut is, measured with care: Cost."""


# =============================================================================
# Data loading
# =============================================================================


@st.cache_resource(max_entries=1, show_spinner=False)
def open_tries() -> Tries:
    """The process that answers, for all sessions of this server."""
    return Tries()


@ui.loaded(max_entries=64)
def load_answers(keys: tuple[str, ...], texts: Texts, pair: bool) -> list[Tried]:
    """What the runs answer; kept weights do not change."""
    return tries.answers(open_tries(), ui.the_store(), settings.from_environment(), keys, texts, pair)


@ui.loaded(max_entries=16)
def load_differing(keys: tuple[str, ...], task: Task, mark: tuple[Any, ...]) -> list[int]:
    """The dev sentences to which the runs gave different answers; of numbers those farthest apart come first."""
    store = ui.the_store()
    labels = known_dev_labels(store, task)
    if labels is None or task.unfetched:
        return []
    found = list(predictions_of(store, keys, task, len(labels)).values())
    rows = list(enumerate(zip(*found, strict=True)))
    if not task.labels:
        return [row for row, _ in sorted(rows, key=lambda one: min(one[1]) - max(one[1]))]
    return [row for row, answers in rows if len(set(answers)) > 1]


@ui.loaded(max_entries=64)
def load_again(key: str) -> str:
    """Whether kept weights answer on dev as the run did: thousands of answers are compared, once."""
    return tries.again_sentence(ui.the_store(), settings.from_environment(), key)


# =============================================================================
# Parts of the page
# =============================================================================


def choose_sides(configurations: dict[str, dict[str, Any]], mark: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """A and, where they are wanted, B and C."""
    names = list(configurations)
    first = beside.defaults(configurations) if len(names) > 1 else (0, None)
    chosen: dict[str, dict[str, Any]] = {}
    for column, side, index in zip(st.columns(3, gap="medium"), charts.SIDES, (*first, None), strict=True):
        with column:
            how: dict[str, Any] = {"index": index, "placeholder": "None", "key": side.lower(), "bind": "query-params"}
            name = st.selectbox(side, names, **how)
            if name:
                chosen[side] = configurations[name]
                beside.tell_side(side, configurations[name], mark)
    return chosen


def make_part(missing: dict[str, Row]) -> None:
    """What is to be made again before it can answer, with the button; looks again while it is made."""
    found = settings.from_environment()
    keys = [run["key"] for run in missing.values()]
    path = kept_weights(found, keys[0])
    sides = " and ".join(missing)
    took = ", ".join(f"{side} {duration(run['total_seconds'])}" for side, run in missing.items())
    view.answer(f"{sides} cannot answer yet: what {'they' if len(missing) > 1 else 'it'} learned is not kept.")
    st.caption(
        "When a run ends its score is kept and its weights are not. Made again, with the same seed, it is the same "
        f"model; it took the first time: {took}." + ui.by_right("", " Who may run things can make it again.")
    )

    def show() -> None:
        if all(tries.is_kept(found, key) for key in keys):
            take.makings().pop(path, None)
            st.rerun()
        store = ui.the_store()
        take.make_in_background(
            path,
            f"Make {sides} again",
            "try_make",
            lambda report: tries.keep(store, found, keys, report),
        )

    making = take.makings().get(path)
    ui.live(show, ui.LIVE_SECONDS if making and making.goes_on else None)


def fill_in(task: Task, rows: list[int]) -> None:
    """Put the next dev sentences on which they differ into the fields."""
    state = st.session_state
    start = state.get("next_example", 0) % len(rows)
    state["next_example"] = start + EXAMPLES
    chosen = tuple(rows[start : start + EXAMPLES])
    labels = known_dev_labels(ui.the_store(), task) or ()
    with st.spinner("Reading the sentences"):
        texts = [tuple(" ".join(part.split()) for part in parts) for parts in beside.load_texts(task, chosen)]
    state["true_answers"] = {parts: labels[row] for parts, row in zip(texts, chosen, strict=True)}
    for field, column in zip(("typed", "typed_second"), zip(*texts, strict=True), strict=False):
        state[field] = "\n".join(column)


def typed(task: Task, keys: dict[str, str], mark: tuple[Any, ...]) -> Texts | None:
    """What is typed, or taken from dev; None and a sentence where it cannot be answered."""
    state = st.session_state
    for field in ("typed", "typed_second"):  # Streamlit forgets the fields of a page that is left
        state.setdefault(field, state.get("kept_typed", {}).get(field, ""))
    fields, buttons = st.container(), st.container(horizontal=True)
    with buttons:
        st.button("Answer", type="primary", icon=":material/send:", key="answer")
        rows = load_differing(tuple(keys.values()), task, mark) if len(keys) > 1 else []
        if rows and st.button(f"Dev sentences where they differ ({len(rows):,})", icon=":material/casino:", key="fill"):
            try:
                fill_in(task, rows)
            except PmbError as error:
                st.warning(ui.plain(str(error)), icon=":material/warning:")
    with fields:
        if task.pair:
            left, right = st.columns(2, gap="medium")
            first = left.text_area("First texts", key="typed", help=ONE_A_LINE)
            second = right.text_area("Second texts", key="typed_second", help="The other half of each, line by line.")
        else:
            first, second = st.text_area("Sentences", key="typed", help=ONE_A_LINE), None
    state["kept_typed"] = {"typed": first, "typed_second": second or ""}
    if not first.strip() and not (second or "").strip():
        st.markdown(f"##### {HINT}{', or take some of dev on which they differ' if rows else ''}.")
        return None
    try:
        return tries.typed_texts(first, second)
    except PmbError as error:
        st.warning(ui.plain(str(error)), icon=":material/warning:")
        return None


def cards(sides: dict[str, Tried], chosen: dict[str, dict[str, Any]]) -> None:
    """How long each took."""
    of_first = next(iter(sides.values())).seconds
    with st.grid(max(2, len(sides)), min_column_width=220):
        for number, (side, one) in enumerate(sides.items()):
            kept = counted(len(chosen[side]["kept_layers"]), "layer")
            times = kept if not number else f"{kept}, {of_first / one.seconds:.1f} times as fast as A"
            view.number(f"{side}: time for one text", f"{1000 * one.seconds:.1f} ms", times)


def one_text(task: Task, sides: dict[str, Tried], texts: Texts, chosen: dict[str, dict[str, Any]]) -> None:
    """The answers to one text, and how they form."""
    number = 0
    if len(texts) > 1:
        short = [" / ".join(parts)[:SHORT_CHARACTERS] for parts in texts]
        number = st.selectbox("Sentence", range(len(texts)), format_func=lambda i: f"{i + 1}. {short[i]}", key="which")
    label = tried.choice(next(iter(sides.values())).answers[number]) if task.labels else 0
    what = f"Probability of “{task.labels[label]}”" if task.labels else "Number"
    forming = tried.forming(sides, number, {side: one["kept_layers"] for side, one in chosen.items()}, label)
    left, right = st.columns(2, gap="medium")
    if task.labels:
        with left:
            view.heading("What each answers")
            found = tried.probabilities(sides, number, task.labels)
            view.draw(
                lambda: charts.probability_chart(found, ui.theme()),
                "What each answers",
                charts.probability_alt_text(found),
            )
    with right if task.labels else left:
        view.heading("How the answer forms")
        view.draw(
            lambda: charts.forming_chart(forming, what, bool(task.labels), ui.theme()),
            "How the answer forms",
            charts.forming_alt_text(forming, what),
        )
    with st.expander("The same as a table", icon=":material/table:"):
        shown = forming.rename(columns={"side": "model", "step": "layers passed", "value": what.lower()})
        shown["layer"] = shown["layer"].replace("", "the model's own answer")
        view.table(shown, "How the answer of each model forms.")


def answers_part(task: Task, chosen: dict[str, dict[str, Any]], keys: dict[str, str], texts: Texts) -> None:
    """All that they answer."""
    try:
        with st.spinner("They answer"):
            found = load_answers(tuple(keys.values()), texts, task.pair)
    except PmbError as error:
        st.warning(ui.plain(str(error)), icon=":material/warning:")
        return
    sides = dict(zip(keys, found, strict=True))
    view.answer(ui.plain(tried.answer_sentence(sides, task.labels)))
    if any(cut for one in found for cut in one.cut_off):
        view.note("A text is longer than the models read: its end was cut off, as in training.")
    known = st.session_state.get("true_answers", {})
    table = tried.answers_table(sides, texts, task.labels, [known.get(parts) for parts in texts])
    if len(texts) > 1 or "true" in table:
        wide = {"sentence": st.column_config.TextColumn(width="medium")}
        view.table(table, "What each model answers.", wide)
    one_text(task, sides, texts, chosen)
    cards(sides, chosen)


# =============================================================================
# Page
# =============================================================================

found = settings.from_environment()
task = controls.choose_task()
mark = change_mark(ui.the_store())
configurations = beside.load_configurations(task, mark)
if not configurations:
    view.answer("No model has been fine-tuned on this task yet.")
    run_them = "Run the whole model and a cut on Explore; both appear here when they end."
    st.info(ui.by_right(run_them, "Choose another task above."))
else:
    chosen = choose_sides(configurations, mark)
    keys = {side: one["keys"][min(one["keys"])] for side, one in chosen.items()}
    runs = {row["key"]: row for row in runs_by_key(ui.the_store(), list(keys.values()))}  # without damaged ones
    kept = {side: key for side, key in keys.items() if key in runs and tries.is_kept(found, key)}
    if not keys:
        view.answer("Choose at least one configuration.")
    elif damaged := [side for side, key in keys.items() if key not in runs]:
        view.answer(f"What {' and '.join(damaged)} answered cannot be used: choose another configuration.")
    elif kept != keys:
        make_part({side: runs[key] for side, key in keys.items() if side not in kept})
    else:
        if st.context.headers.get("User-Agent"):  # a browser, and no test
            open_tries().prepare()
        if texts := typed(task, keys, mark):
            answers_part(task, chosen, keys, texts)
    again = [f"{side}: {ui.plain(load_again(key))}" for side, key in kept.items()]
    view.method(METHOD.format(timings=tries.TIMINGS), *again)
    view.made([command_of(spec_of_row(row)) for row in runs.values()], lambda: list(runs.values()))
