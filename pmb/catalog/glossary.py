"""The words of the pages, each in a sentence or two."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the field as the lab uses it."""

    name: str
    meaning: str


GLOSSARY: dict[str, tuple[Word, ...]] = {
    "What is cut": (
        Word("base model", "A pre-trained encoder with L layers, counted from 0, the lowest."),
        Word("whole model", "The base model with all its layers, fine-tuned in the same way."),
        Word("strategy", "A rule that says which K of the L layers go."),
        Word("drop count", "K, how many layers go. 0 is the whole model."),
        Word("kept layers", "The layers that stay, by their number in the base model. Equal kept layers are one run."),
    ),
    "The six strategies": (
        Word("top", "The K highest layers go."),
        Word("bottom", "The K lowest layers go."),
        Word("even-alternate", "Every other layer from the highest down: L-1, L-3 and so on, at most half."),
        Word("odd-alternate", "Every other layer from the second highest down: L-2, L-4 and so on, at most half."),
        Word("symmetric", "The K layers in the middle go; as many stay at the bottom as at the top."),
        Word(
            "contribution",
            "The K layers go whose output is most like their input: the cosine of both, averaged over train sentences.",
        ),
    ),
    "More strategies": (
        Word("block-influence", "As contribution, but by every token and not the sentence token alone (ShortGPT)."),
        Word(
            "angular",
            "The K neighbouring layers go over which the sentence token turns least, by its angle (Gromov et al.).",
        ),
        Word(
            "variance",
            "The K layers go whose weights vary least: one reading of a rule that the paper names without a formula.",
        ),
        Word(
            "greedy",
            "Layer by layer, the one goes without which a classifier on the frozen model does best, on train sentences "
            "alone.",
        ),
        Word(
            "random",
            "K layers go by a fixed draw (the first of random-0, random-1, …): the control that shows what a rule "
            "is worth.",
        ),
        Word("custom", "The layers that you name stay; no rule chooses."),
    ),
    "How it is trained": (
        Word(
            "recipe",
            "Everything of a fine-tuning but model, task, layers and seed; one recipe for all depths. Its values can "
            "be changed: full, 8 epochs is a recipe of its own.",
        ),
        Word("quick", "A recipe of 512 train sentences and 3 epochs, for a first look."),
        Word(
            "full",
            "All train items (at most 10,000), as many epochs as the task needs. Pages open with it.",
        ),
        Word("standard", "A recipe of 2,000 train items and 2 epochs."),
        Word("first-2000", "The recipe of older shipped GLUE results: the first 2,000 train items for every seed."),
        Word("stable", "A recipe of 2,500 train sentences and 10 epochs."),
        Word("epoch", "One pass over the train items."),
        Word("learning rate", "How far each training step goes. It rises at first and then falls to 0."),
        Word("batch size", "How many train items one training step looks at."),
        Word("max length", "How many tokens of an item the model reads. The rest is cut off."),
        Word("dropout", "The share of hidden states that each training step leaves out, at random."),
        Word("class weights", "Errors on rare classes count more, so that all classes count the same."),
        Word("seed", "The number that fixes all chance of a run: first weights of the classifier, order of sentences."),
        Word("run", "One fine-tuning of one cut with one seed."),
        Word("configuration", "A run without its seed. Tables and charts show its seeds as mean and interval."),
        Word("dev", "Sentences that are not trained on; every score is measured on them, after the last epoch."),
    ),
    "What is measured": (
        Word(
            "bag of words",
            "Zero layers: TF-IDF and a linear model on the same train items. A cut that does not clearly beat it has "
            "shown nothing.",
        ),
        Word(
            "undertrained",
            "A task on which the whole model is more than 5 points below its published score, or not clearly better "
            "than a bag of words. It does not count in averages and claims.",
        ),
        Word("accuracy", "The share of dev sentences that are answered rightly."),
        Word("F1", "The harmonic mean of precision and recall of the positive class."),
        Word("macro F1", "The mean of the classes' F1, each class counting the same."),
        Word("Matthews' correlation", "Agreement of answers and labels, from -1 to 1; 0 is chance."),
        Word("Pearson's correlation", "How well the predicted numbers lie on a line with the true ones, from -1 to 1."),
        Word("Spearman's correlation", "The same of their ranks."),
        Word("points", "Hundredths of a score: from 80 % to 77 % are 3 points."),
        Word("speed-up", "Time of the whole model by time of the cut one, for the same sentences on the same device."),
        Word("front", "The configurations for which nothing measured is both faster and better."),
    ),
    "How sure it is": (
        Word(
            "interval",
            "Of 20 such 95 % intervals about 19 hold the true value. Over seeds where there are several, else over dev "
            "sentences.",
        ),
        Word("no clear difference", "The interval of the difference holds 0: the data do not say which is better."),
        Word(
            "McNemar's test",
            "Whether two configurations differ, from the sentences that only one of them answers rightly.",
        ),
        Word(
            "predicted",
            "Foretold before training, by what a classifier reads off the frozen cut and by its depth; drawn hollow.",
        ),
        Word("band", "Where a measured score would lie in 95 of 100 such predictions."),
        Word(
            "sure at 95 %",
            "A search says so of a wrong answer in at most 1 of 20 cases, however often it has looked at its runs.",
        ),
        Word("not decidable", "All seeds that it may use are used, or more would not help: dev has too few sentences."),
        Word("measured", "By a run on this machine, or on one that shares its store."),
        Word("shipped", "Measured by this lab on another machine; the results came with it."),
        Word("published", "Printed in a paper. Never in one series with what was measured."),
    ),
}
