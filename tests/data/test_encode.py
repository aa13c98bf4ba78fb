"""Tokens of prompts and answers, with a real byte-level BPE and a real SentencePiece vocabulary."""

import copy

import pytest
from tokenizers import Regex, pre_tokenizers, processors
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from moral_jax.config.task import PromptConfig
from moral_jax.data import encode
from moral_jax.prompts.render import Rendered, Scored, make_renderer
from moral_jax.types import Example, UserError
from moral_jax.weights import tokenizer

LETTERS = (("A", " A"), ("B", " B"))


@pytest.fixture(scope="module")
def bpe(smollm2):
    return tokenizer.load(smollm2)


@pytest.fixture(scope="module")
def spm(mistral_spm):
    """Mistral's vocabulary as transformers builds it."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(str(mistral_spm))
    tokens = [pieces.id_to_piece(i) for i in range(pieces.vocab_size())]
    scores = {t: pieces.get_score(i) for i, t in enumerate(tokens)}
    vocab = {t: i for i, t in enumerate(tokens)}
    merges = tokenizer.generate_merges(vocab, scores)
    words = LlamaTokenizer(vocab=vocab, merges=merges, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    words.add_bos_token = True
    return words


def rendered(text, answers=LETTERS, has_specials=False, answers_are_tokens=False):
    return Rendered(text, answers, has_specials, answers_are_tokens)


def test_both_surface_forms_of_a_letter(bpe):
    got = encode.encode(bpe, rendered("Which?\nAnswer:"))
    assert [[bpe.decode([i]) for i in ids] for ids in got.option_ids] == [["A", " A"], ["B", " B"]]
    assert bpe.decode(got.texts[0].tokens_T) == "Which?\nAnswer:"


def test_sentencepiece_has_its_own_forms(spm):
    got = encode.encode(spm, rendered("Which?\nAnswer:"))
    names = [spm.convert_ids_to_tokens(list(ids)) for ids in got.option_ids]
    assert names == [["A", "▁A"], ["B", "▁B"]]
    assert got.texts[0].tokens_T[0] == spm.bos_token_id
    assert got.texts[0].tokens_T[1] != spm.bos_token_id


def test_forms_that_are_one_token_count_once(bpe):
    got = encode.encode(bpe, rendered("Answer:", answers=(("A", "A"), ("B",))))
    assert [len(ids) for ids in got.option_ids] == [1, 1]


def test_an_answer_that_merges_into_the_prompt(bpe):
    with pytest.raises(UserError, match=r"'s' merges into the end of the prompt.*Prompt: 'It i'"):
        encode.encode(bpe, rendered("It i", answers=(("s",), ("t",))))


def test_an_answer_without_tokens(bpe):
    with pytest.raises(UserError, match="adds no token"):
        encode.encode(bpe, rendered("Answer:", answers=(("",), ("A",))))


def test_answers_that_begin_alike(bpe):
    with pytest.raises(UserError, match=r"\('very good',\) and \('very bad',\) share their first token 'very'"):
        encode.encode(bpe, rendered("Answer:", answers=(("very good",), ("very bad",))))


def test_a_doubled_bos(spm):
    with pytest.raises(UserError, match="begins with two BOS tokens"):
        encode.encode(spm, rendered("<s>Answer:"))
    encode.encode(spm, rendered("<s>Answer:", has_specials=True))


def test_digits_are_told_apart_where_a_blank_is_a_token_of_its_own(bpe):
    """ " 1" is a blank and "1" there: the blank begins all of them and says nothing."""
    got = encode.encode(bpe, rendered("Answer:", (("1", " 1"), ("2", " 2"), ("3", " 3"))))
    assert [bpe.convert_ids_to_tokens(list(ids)) for ids in got.option_ids] == [["1"], ["2"], ["3"]]


def ended(words):
    """The tokenizer of a model that was fine-tuned with `add_eos_token`."""
    words = copy.deepcopy(words)
    b, e = words.bos_token, words.eos_token
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{b} $A {e}",
        pair=f"{b} $A {e} $B {e}",
        special_tokens=[(b, words.bos_token_id), (e, words.eos_token_id)],
    )
    return words


@pytest.mark.parametrize("which", ["bpe", "spm"])
@pytest.mark.fault(
    "a tokenizer that ends every text with a token of its own", promise="it is left off where the last token is read"
)
def test_an_end_token_of_the_tokenizers_own_is_left_off_where_the_last_token_is_read(request, which):
    words = ended(request.getfixturevalue(which))
    got = encode.encode(words, rendered("Which?\nAnswer:"))
    scored = encode.encode(words, Scored((("Which?\nAnswer:",),), (0,), reads_last=True))
    for text in (*got.texts, *scored.texts):
        assert text.tokens_T[0] == words.bos_token_id
        assert words.decode(text.tokens_T[1:]).lstrip() == "Which?\nAnswer:"
    assert [words.decode(ids[:1]) for ids in got.option_ids] == ["A", "B"]
    with pytest.raises(UserError, match="adds no token"):
        encode.encode(words, rendered("Answer:", answers=(("",), ("A",))))


def test_an_end_token_stays_where_it_is_not_read_or_where_the_text_says_it(bpe):
    words = ended(bpe)
    e = words.eos_token_id
    pair = encode.encode(words, Scored((("a", "b"),), (0,), reads_last=False)).texts[0].tokens_T.tolist()
    assert [i == e for i in pair] == [False, False, True, False, True] or words.bos_token_id == e
    said = encode.encode(words, rendered(f"x{words.eos_token}", has_specials=True)).texts[0].tokens_T
    assert said[-1] == e


def test_a_tokenizer_that_gives_up_is_named(bpe):
    """Its pattern goes back and forth without end, and its Rust code panics, which is no Exception in Python."""
    words = copy.deepcopy(bpe)
    bomb = pre_tokenizers.Split(Regex("(a+)+b"), behavior="isolated")
    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([bomb, words.backend_tokenizer.pre_tokenizer])
    with pytest.raises(
        UserError, match=r"cannot read the text \(panic: .*--config.model.tokenizer=FOLDER. Text: 'a+\?'"
    ):
        encode.encode(words, rendered("a" * 40 + "?"))


def test_the_studys_tokens_are_looked_up(bpe):
    got = encode.encode(bpe, rendered("Answer:\n    ", (("Yes", "yes"), ("No", "no")), answers_are_tokens=True))
    assert [bpe.convert_ids_to_tokens(list(ids)) for ids in got.option_ids] == [["Yes", "yes"], ["No", "no"]]


def test_a_word_that_is_no_token(bpe):
    with pytest.raises(UserError, match=r"none of the answers \('Yesyesyes',\) is a token"):
        encode.encode(bpe, rendered("Answer:", (("Yesyesyes",), ("No",)), answers_are_tokens=True))


def test_no_prompt_at_all(bpe):
    with pytest.raises(UserError, match="the prompt has no tokens"):
        encode.encode(bpe, rendered(""))


STORY = Example(
    id="s",
    question="Who is in the wrong?",
    title="AITA?",
    text="It began well. " + "Then nothing happened for a while. " * 60 + "In the end I left.",
    options=("me", "them"),
    counts=(1.0, 1.0),
)


def fit(words, limit, example=STORY):
    render = make_renderer(PromptConfig(format="plain"), None, None)
    return encode.fit(words, lambda e: render(e, (0, 1)), example, encode.Limits(limit, 4096, shares=True))


@pytest.mark.parametrize("limit", [64, 100, 300])
@pytest.mark.parametrize("which", ["bpe", "spm"])
def test_long_texts_lose_their_middle_and_nothing_else(request, which, limit):
    words = request.getfixturevalue(which)
    [got], cut = fit(words, limit)
    assert cut
    assert limit - 12 <= len(got.texts[0].tokens_T) <= limit
    text = words.decode(got.texts[0].tokens_T, skip_special_tokens=True)
    assert "Who is in the wrong?" in text
    assert "AITA?" in text
    assert "It began well." in text
    assert "In the end I left." in text
    assert encode.GAP.strip() in text
    assert text.endswith("A. me\nB. them\nAnswer:")


def test_what_fits_is_not_touched(bpe):
    assert not fit(bpe, 2000)[1]


def test_a_question_that_does_not_fit_is_an_error(bpe):
    with pytest.raises(UserError, match="without cutting the question"):
        fit(bpe, 30)
    with pytest.raises(UserError, match="config.data.length=10"):
        fit(bpe, 10, STORY._replace(text=""))


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no tokenizer"):
        tokenizer.load(tmp_path)


def test_a_folders_own_tokenizer(tiny_folder):
    words = tokenizer.load(tiny_folder)
    assert isinstance(words, PreTrainedTokenizerFast)
    assert words.decode(words("telling a lie")["input_ids"]) == "telling a lie"
