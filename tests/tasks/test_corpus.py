"""Corpora: nothing of the held-out parts is in training, symbols are text, and bad files are refused."""

from __future__ import annotations

import platform
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entropylens.tasks.articles import Article, articles, paragraphs, split
from entropylens.tasks.corpus import (
    DOCUMENTATION,
    FOLDED,
    STAND_IN,
    Corpus,
    Document,
    Level,
    documentation,
    folded,
    joined,
    read_corpus,
    subset,
    windows,
)
from entropylens.tasks.python_text import SHORTEST_DOCUMENT, SNAPSHOT_OF, snapshot

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LEVELS: tuple[Level, ...] = ("character", "byte")


def prose(n_paragraphs: int, seed: int) -> list[str]:
    """Paragraphs of 12 words of 5 letters; every fourth one has occurred before, wrapped in another way."""
    rng = np.random.default_rng(seed)
    parts: list[str] = []
    for n in range(n_paragraphs):
        words = ["".join(rng.choice([*"abcdefghé"], 5)) for _ in range(12)]
        again = parts[int(rng.integers(n))].replace(" ", "\n", 3) if n % 4 == 3 else ""
        parts.append(again or " ".join(words))
    return parts


def wikitext(n_articles: int, seed: int = 0, each: int = 20) -> str:
    """A text in the form of WikiText's raw files: lines between spaces, headings, sections."""
    parts = prose(n_articles * each, seed)
    text = ""
    for n in range(n_articles):
        lines = parts[n * each : (n + 1) * each]
        text += f" \n = Article {n} = \n \n" + "".join(f" {line} \n \n" for line in lines[: each // 2])
        text += " = = A section = = \n \n" + "".join(f" {line} \n \n" for line in lines[each // 2 :])
    return text


def written(folder: Path, text: str, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(written(tmp_path_factory.mktemp("corpus"), wikitext(40)))


@pytest.fixture(scope="module")
def taken() -> str:
    pytest.importorskip("pydoc_data.topics")
    return snapshot()


def parts_of(corpus: Corpus) -> tuple[tuple[Document, ...], ...]:
    return corpus.train, corpus.validation, corpus.test


def sizes(corpus: Corpus) -> np.ndarray:
    return np.array([len(joined(part)) for part in parts_of(corpus)])


def toy(*lengths: int) -> list[Document]:
    """Documents whose symbols tell where they are from: 1000 · document + position."""
    return [Document(str(n), 1000 * n + torch.arange(length)) for n, length in enumerate(lengths)]


# ---- no leakage ----------------------------------------------------------------------------------------------------


def long_paragraphs(corpus: Corpus, documents: tuple[Document, ...]) -> set[str]:
    normal = {" ".join(p.split()) for d in documents for p in paragraphs(corpus.decode(d.symbols))}
    return {p for p in normal if len(p) >= 40}


@pytest.mark.parametrize("level", LEVELS)
def test_no_paragraph_of_the_documentation_is_learned_and_tested(level: Level) -> None:
    corpus = documentation(level)
    train, validation, test = (long_paragraphs(corpus, part) for part in parts_of(corpus))
    assert min(len(train), len(validation), len(test)) > 200
    assert not train & validation
    assert not train & test
    assert not validation & test


@settings(FEW, max_examples=10)
@given(st.integers(0, 999), st.integers(10, 60), st.booleans())
def test_no_paragraph_of_any_text_is_learned_and_tested(
    tmp_path: Path, seed: int, n_articles: int, with_headings: bool
) -> None:
    text = wikitext(n_articles, seed, each=max(4, 600 // n_articles))
    corpus = read_corpus(written(tmp_path, text if with_headings else re.sub(r" = .* = ", "", text)))
    train, validation, test = (long_paragraphs(corpus, part) for part in parts_of(corpus))
    assert train
    assert validation
    assert test
    assert not train & (validation | test)
    assert not validation & test


def test_short_paragraphs_may_recur() -> None:
    text = "".join(f" = {n} = \n\n“Yes.”\n\n{line}\n\n" for n, line in enumerate(prose(20, 1)[:15] * 2))
    kept = articles(text, shortest=40)
    assert [a.text.count("“Yes.”") for a in kept] == [1] * 30
    assert sum(a.text.count("\n\n") for a in kept) == 30 + len({" ".join(p.split()) for p in prose(20, 1)[:15]})


# ---- documents and their parts --------------------------------------------------------------------------------------


def test_headings_in_the_form_of_wikitext_begin_documents(headed: Corpus) -> None:
    documents = [d for part in parts_of(headed) for d in part]
    assert {d.title for d in documents} == {f"Article {n}" for n in range(40)}
    assert all(headed.decode(d.symbols).count("= = A section = =") == 1 for d in documents)
    assert all(headed.decode(d.symbols).endswith("\n\n") for d in documents)


@pytest.mark.parametrize(
    "text",
    [
        "\n\n".join(prose(600, 2)),
        "\n".join(prose(600, 2)),
        " ".join(prose(600, 2)).replace("\n", " "),
        wikitext(9, each=60),
        wikitext(12, each=20) + "\n\n".join(prose(300, 3)),
    ],
    ids=["blank lines", "lines", "one line", "few articles", "a huge article"],
)
def test_without_usable_headings_a_text_is_cut_in_blocks(tmp_path: Path, text: str) -> None:
    corpus = read_corpus(written(tmp_path, text))
    titles = sorted(d.title for part in parts_of(corpus) for d in part)
    assert titles == sorted(f"block {n}" for n in range(1, 51))
    np.testing.assert_allclose(sizes(corpus) / sizes(corpus).sum(), [0.8, 0.1, 0.1], atol=0.03)


def test_blocks_leave_no_word_out(tmp_path: Path) -> None:
    text = " ".join(prose(400, 2)).replace("\n", " ")
    corpus = read_corpus(written(tmp_path, text))
    blocks = sorted((d for part in parts_of(corpus) for d in part), key=lambda d: int(d.title.split()[1]))
    assert " ".join(corpus.decode(joined(blocks)).split()) == text


@FEW
@given(st.lists(st.integers(1, 100), min_size=30, max_size=60), st.randoms())
def test_the_split_is_near_its_shares_and_blind_to_order(lengths: list[int], shuffler: random.Random) -> None:
    dealt = [Article(f"title {n}", "x" * length) for n, length in enumerate(lengths)]
    parts = split(dealt)
    shuffler.shuffle(dealt)
    assert split(dealt) == parts
    assert sorted(a.title for part in parts for a in part) == sorted(a.title for a in dealt)
    for part, quota in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert abs(sum(len(a.text) for a in part) - quota * sum(lengths)) <= max(lengths)


def test_the_documentation_is_split_as_stated() -> None:
    share = sizes(documentation()) / sizes(documentation()).sum()
    np.testing.assert_allclose(share, [0.8, 0.1, 0.1], atol=0.02)
    assert 1_000_000 < sizes(documentation()).sum() < 2_000_000


# ---- the bundled text -----------------------------------------------------------------------------------------------


def test_the_bundled_text_is_plain() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    assert re.fullmatch(r"[\n -~]*", text)
    assert "\n\n\n" not in text
    titles = re.findall(r"^ = (.*) = $", text, flags=re.M)
    assert len(titles) == len(set(titles)) == sum(len(part) for part in parts_of(documentation()))
    assert all(re.fullmatch(r"(topic|module) \S+", title) for title in titles)
    assert min(len(d.symbols) for part in parts_of(documentation()) for d in part) >= SHORTEST_DOCUMENT


def test_the_bundled_text_has_been_read_as_it_stands() -> None:
    """All its paragraphs are distinct already: reading drops nothing."""
    text = re.sub(r"^ = .* = \n\n", "", DOCUMENTATION.read_text(encoding="utf-8"), flags=re.M)
    assert sizes(documentation()).sum() == len(text)
    assert STAND_IN not in "".join(documentation().decode(joined(part)) for part in parts_of(documentation()))


@pytest.mark.skipif(platform.python_version() != SNAPSHOT_OF, reason=f"the text is that of Python {SNAPSHOT_OF}")
def test_the_bundled_text_comes_from_python(taken: str) -> None:
    assert taken == DOCUMENTATION.read_text(encoding="utf-8")


def test_any_python_gives_a_text_of_the_same_shape(tmp_path: Path, taken: str) -> None:
    corpus = read_corpus(written(tmp_path, taken))
    titles = {d.title for part in parts_of(corpus) for d in part}
    assert {"topic objects", "module difflib"} <= titles
    assert sizes(corpus).sum() > 1_000_000


def test_the_licence_lies_beside_the_text() -> None:
    licence = DOCUMENTATION.with_name("python_documentation.LICENSE.txt").read_text(encoding="utf-8")
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in licence
    assert f"CPython {SNAPSHOT_OF}" in licence


# ---- symbols and text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_documents_survive_decoding(level: Level) -> None:
    corpus = documentation(level)
    for document in corpus.test:
        assert torch.equal(corpus.encode(corpus.decode(document.symbols)), document.symbols)
    assert documentation(level) is corpus


@FEW
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("abé\n"), max_size=50))
def test_encoding_can_be_undone(headed: Corpus, text: str) -> None:
    assert documentation("byte").decode(documentation("byte").encode(text)) == text
    known = set(headed.alphabet)
    assert headed.decode(headed.encode(text)) == "".join(c if c in known else STAND_IN for c in text)


@FEW
@given(st.lists(st.integers(0, 9), max_size=50))
def test_decoding_can_be_undone(headed: Corpus, symbols: list[int]) -> None:
    assert headed.encode(headed.decode(torch.tensor(symbols, dtype=torch.int64))).tolist() == symbols


def test_the_alphabet_is_that_of_the_training_part(tmp_path: Path) -> None:
    text = wikitext(40)
    held_out = read_corpus(written(tmp_path, text)).test[0].title
    heading = f" = {held_out} = \n \n"
    corpus = read_corpus(written(tmp_path, text.replace(heading, heading + "zzz " * 30 + "\n\n")))
    counts = Counter("".join(corpus.decode(d.symbols) for d in corpus.train))
    assert set(corpus.alphabet[:-1]) == {c for c, n in counts.items() if n >= 20 and c != STAND_IN}
    assert "z" not in corpus.alphabet
    assert STAND_IN * 3 in "".join(corpus.decode(d.symbols) for d in corpus.test if d.title == held_out)
    assert list(corpus.alphabet[:-1]) == sorted(set(corpus.alphabet[:-1]))
    assert corpus.alphabet[-1] == STAND_IN


def test_rare_characters_share_a_symbol(tmp_path: Path) -> None:
    path = written(tmp_path, wikitext(40).replace("é", "§", 19))
    assert {"é", "§"} & set(read_corpus(path).alphabet) == {"é"}
    assert {"é", "§"} <= set(read_corpus(path, min_count=1).alphabet)


def test_bytes_are_named() -> None:
    alphabet = documentation("byte").alphabet
    assert len(alphabet) == documentation("byte").vocab_size == 256
    assert (alphabet[0], alphabet[65], alphabet[255]) == ("\\x00", "\\x41", "\\xff")


def test_bytes_in_another_encoding_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(wikitext(40).encode("latin-1"))
    counts = torch.bincount(joined(read_corpus(path, "byte").train), minlength=256)
    assert counts[ord("é")] > 100


def test_line_ends_and_a_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    path = written(tmp_path, wikitext(40))
    other = written(tmp_path, "\ufeff" + wikitext(40).replace("\n", "\r\n"), "windows.txt")
    assert read_corpus(path).digest == read_corpus(other).digest
    assert (read_corpus(path).name, read_corpus(path, name="mine").name) == ("text.txt", "mine")


@pytest.mark.parametrize("bad", [-1, 256])
def test_foreign_symbols_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="0 … 255"):
        documentation("byte").decode(torch.tensor([bad]))


def test_the_digest_tells_corpora_apart(tmp_path: Path, headed: Corpus) -> None:
    path = written(tmp_path, wikitext(40))
    same, other = read_corpus(path, name="other"), written(tmp_path, wikitext(40)[:-9] + "\n", "other.txt")
    assert same.digest == headed.digest
    digests = {headed.digest, read_corpus(path, "byte").digest, read_corpus(other).digest}
    assert len(digests) == 3
    assert all(re.fullmatch("[0-9a-f]{24}", digest) for digest in digests)


# ---- what models are fed --------------------------------------------------------------------------------------------


def test_a_stream_is_the_documents_in_their_order() -> None:
    assert joined(toy(2, 3)).tolist() == [0, 1, 1000, 1001, 1002]
    assert joined(toy(2, 3), limit=3).tolist() == [0, 1, 1000]
    assert joined(toy(2, 3), limit=9).tolist() == joined(toy(2, 3)).tolist()


@FEW
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 12))
def test_windows_never_cross_a_border(lengths: list[int], length: int) -> None:
    if max(lengths) < length:
        with pytest.raises(ValueError, match=f"1 … {max(lengths)} symbols, got {length}"):
            windows(toy(*lengths), length)
        return
    cut, document = windows(toy(*lengths), length)
    starts = [1000 * n + at for n, size in enumerate(lengths) for at in range(0, size - length + 1, length)]
    assert cut.tolist() == [[start + i for i in range(length)] for start in starts]
    assert document.tolist() == [start // 1000 for start in starts]


@FEW
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 99), st.data())
def test_a_sample_has_exactly_the_symbols_asked_for(lengths: list[int], seed: int, data: st.DataObject) -> None:
    documents = toy(*lengths)
    n = data.draw(st.integers(1, sum(lengths)))
    drawn = subset(documents, n, seed)
    assert sum(len(d.symbols) for d in drawn) == n
    assert len({d.title for d in drawn}) == len(drawn)
    assert all(torch.equal(d.symbols, documents[int(d.title)].symbols[: len(d.symbols)]) for d in drawn)
    assert all(len(d.symbols) == lengths[int(d.title)] for d in drawn[:-1])
    assert torch.equal(joined(subset(documents, sum(lengths), seed), limit=n), joined(drawn))


def test_samples_differ_by_seed() -> None:
    train = documentation().train
    draws = [joined(subset(train, 20_000, seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("n", [0, 6])
def test_a_sample_larger_than_its_source_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"1 … 5 symbols, got {n}"):
        subset(toy(2, 3), n, seed=0)


def test_empty_streams_are_refused() -> None:
    with pytest.raises(ValueError, match="0 documents"):
        joined([])
    with pytest.raises(ValueError, match="limit = 0"):
        joined(toy(2), limit=0)
    with pytest.raises(ValueError, match="1 … 0 symbols, got 4"):
        windows([], 4)


# ---- files that are no corpus --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; a corpus has at least 20,000"),
        (b" \n\n\t\n", "is empty"),
        (b"abc\0def", "is not text: byte 3 is NUL"),
        ("Zoë".encode("latin-1") * 9000, r'is not UTF-8: byte 2 is 0xeb; convert it, or use level="byte"'),
        (b"word " * 3999, "is too short: 19,99. characters, .* a split needs 20,000"),
        (b"The same line of more than forty characters.\n\n" * 900, "is too short: 46 characters, repeated"),
    ],
    ids=["empty", "blank", "binary", "latin", "short", "repeated"],
)
def test_a_file_that_is_no_corpus_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} {message}"):
        read_corpus(path)


def test_binary_files_are_refused_at_the_level_of_bytes_too(tmp_path: Path) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(b"\xff\xfe" + b"a\0" * 20_000)
    with pytest.raises(ValueError, match=r"bad\.bin is not text: byte 3 is NUL"):
        read_corpus(path, "byte")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))} is a folder"):
        read_corpus(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist"):
        read_corpus(str(tmp_path / "nowhere.txt"))


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown level 'word'; choose from character, byte"):
        read_corpus("any.txt", "word")  # type: ignore[arg-type]


@pytest.mark.parametrize("min_count", [0, 10**9])
def test_a_count_that_leaves_no_alphabet_is_refused(min_count: int) -> None:
    with pytest.raises(ValueError, match=f"min_count is 1 … .* got {min_count}"):
        read_corpus(DOCUMENTATION, min_count=min_count)


# ---- few symbols -----------------------------------------------------------------------------------------------------


def test_a_folded_corpus_is_the_same_text_in_31_symbols() -> None:
    corpus, small = documentation(), folded(documentation())
    assert small.alphabet == ("\n", " ", ",", ".", *"abcdefghijklmnopqrstuvwxyz", STAND_IN)
    assert list(FOLDED) == sorted(FOLDED)
    for part in ("train", "validation", "test"):
        for before, after in zip(getattr(corpus, part), getattr(small, part), strict=True):
            assert after.title == before.title
            text = corpus.decode(before.symbols).lower()
            assert small.decode(after.symbols) == "".join(c if c in FOLDED else STAND_IN for c in text)
    assert small.digest != corpus.digest
    assert folded(small).digest == small.digest
    assert torch.equal(small.encode("a.b\n?"), torch.tensor([4, 3, 5, 0, 30]))


def test_capital_letters_fold_and_others_do_not() -> None:
    alphabet = (*sorted("AZaé\u0130\u212a"), STAND_IN)  # the fifth has two small letters, the sixth is a K
    document = Document("all", torch.arange(len(alphabet)))
    small = folded(Corpus("letters", "character", alphabet, (document,), (), ()))
    assert small.decode(small.train[0].symbols) == f"aza{STAND_IN}{STAND_IN}k{STAND_IN}"
    assert small.name == "letters, folded"


def test_bytes_are_not_folded() -> None:
    with pytest.raises(ValueError, match="characters can be folded, not symbols of level 'byte'"):
        folded(documentation("byte"))
