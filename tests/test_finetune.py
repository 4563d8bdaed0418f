"""Fine-tuning on small random models: it learns, it repeats itself, the compacted vocabulary changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import BertForSequenceClassification

from pmb.engine import finetune
from pmb.engine.batches import Encoded, batch_of, shuffled_rows, sorted_rows
from pmb.engine.finetune import Training, fine_tune, linear_schedule, predict, total_steps
from pmb.engine.forward import plain_forward
from pmb.engine.vocabulary import compacted
from pmb.errors import RunFailed
from pmb.spec import Progress
from tests.architectures import ARCHITECTURES
from tests.conftest import TINY
from tests.test_surgery import small_bert

CPU = torch.device("cpu")
RECIPE = replace(TINY, epochs=4, learning_rate=1e-2, batch_size=8, dropout=0.1)


def sentences(count: int = 64) -> Encoded:
    """Sentences of 3 to 9 tokens; the two labels have words of their own."""
    rows, labels = [], []
    for i in range(count):
        first_word = 10 if i % 2 else 50
        rows.append((2, *(first_word + (i * 7 + j * 5) % 30 for j in range(2 + i % 7))))
        labels.append(i % 2)
    return Encoded(tuple(rows), tuple(labels), 0)


def train(
    how: Callable[..., Training], steps: list[float] | None = None
) -> tuple[BertForSequenceClassification, Training]:
    model = small_bert()
    torch.manual_seed(5)
    seen = [] if steps is None else steps
    training = how(model, sentences(), RECIPE, 0, CPU, lambda p: seen.append(p.loss or 0.0))
    return model, training


def test_it_learns_what_can_be_learned() -> None:
    model = small_bert()
    training = fine_tune(model, sentences(), replace(RECIPE, epochs=12, dropout=0.0), 0, CPU, lambda _: None)
    assert training.losses[-1] < training.losses[0]
    predicted = predict(model, sentences(), CPU)
    right = sum(p == y for p, y in zip(predicted, sentences().labels, strict=True))
    assert right >= 0.9 * len(predicted)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = train(fine_tune)[0], train(fine_tune)[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_forward_pass_without_memory_gives_way_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(finetune, "pick_forward", without_memory)
    with pytest.raises(MemoryError):
        train(fine_tune)


def test_words_that_do_not_occur_keep_their_weights() -> None:
    before = small_bert().bert.embeddings.word_embeddings.weight.detach().clone()
    model, _ = train(fine_tune)
    after = model.bert.embeddings.word_embeddings.weight
    used = sorted({0}.union(*sentences().token_ids))
    unused = [i for i in range(99) if i not in used]
    assert torch.equal(after[unused], before[unused])
    assert not torch.equal(after[used], before[used])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "xlnet", "distilbert"])
def test_a_vocabulary_of_the_words_that_occur_changes_no_logits(name: str) -> None:
    """Also where no sentence has the tokens below the padding: RoBERTa counts positions from what is not padding."""
    architecture = next(a for a in ARCHITECTURES if a.name == name)
    model, pad = architecture.build(), architecture.settings["pad_token_id"]
    rows = ((10, 30, 31, 32), (10, 40), (10, 50, 51))
    data = Encoded(rows, (0, 1, 0), pad, pad_left=name == "xlnet")
    whole = plain_forward(model)(batch_of(data, range(3), CPU))
    with compacted(model, data) as small:
        assert model.get_input_embeddings().num_embeddings == 8
        assert torch.allclose(plain_forward(model)(batch_of(small, range(3), CPU)), whole, atol=1e-6)


def test_weight_decay_moves_every_word_and_so_trains_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "compacted", lambda *_: pytest.fail("compacted with weight decay"))
    fine_tune(small_bert(), sentences(), replace(RECIPE, weight_decay=0.1, epochs=1), 0, CPU, lambda _: None)


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence() -> None:
    model = small_bert()
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    with pytest.raises(
        RunFailed, match=r"loss became nan in epoch 1 of 4, at step 1 of 32; a learning rate below 0.01"
    ):
        fine_tune(model, sentences(), RECIPE, 0, CPU, lambda _: None)


def test_answers_that_are_no_numbers_are_not_scored() -> None:
    model = small_bert()
    with torch.no_grad():
        model.classifier.weight.fill_(float("inf"))
    with pytest.raises(RunFailed, match="answers with not-a-number; a lower learning rate may help"):
        predict(model, sentences(), CPU)


def test_every_step_is_reported() -> None:
    reports: list[Progress] = []
    fine_tune(small_bert(), sentences(), RECIPE, 0, CPU, reports.append)
    assert [p.step for p in reports] == list(range(1, 33))
    assert {p.steps for p in reports} == {32} == {total_steps(64, RECIPE)}
    assert reports[-1].seconds_left == 0


def test_the_recipes_dropout_is_the_models() -> None:
    model = small_bert()
    fine_tune(model, sentences(), replace(RECIPE, dropout=0.0, epochs=1), 0, CPU, lambda _: None)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing() -> None:
    factors = [linear_schedule(step, 100, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1.0
    assert factors[100] == 0.0
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_a_batch_is_filled_up_to_the_next_width_and_the_mask_says_so() -> None:
    data = sentences()  # of 3 to 9 tokens
    full = [row for row in range(len(data)) if len(data.token_ids[row]) == 7][:2]
    assert (batch_of(data, full, CPU).input_ids.shape, batch_of(data, full, CPU).is_padded) == ((2, 7), False)
    wide = batch_of(data, full, CPU, (4, 8, 9))
    assert (wide.input_ids.shape, wide.is_padded) == ((2, 8), True)
    assert wide.attention_mask.sum(1).tolist() == [7, 7]
    assert batch_of(data, full, CPU, (4,)).input_ids.shape == (2, 7)  # none is wide enough


def test_an_epoch_and_an_evaluation_see_each_sentence_once() -> None:
    import random

    data = sentences(61)
    epoch = [row for rows in shuffled_rows(data, 8, random.Random(0)) for row in rows]
    assert sorted(epoch) == sorted(row for rows in sorted_rows(data, 8) for row in rows) == list(range(61))
    assert epoch != sorted(epoch)
