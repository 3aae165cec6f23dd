"""What is mended in a page's HTML."""

from __future__ import annotations

from entropylens.book.markup import mend

_VIEW = '<script type="application/vnd.jupyter.widget-view+json">\n{"model_id": "a"}\n</script>'


def test_each_explorer_is_followed_by_words_for_those_without_javascript() -> None:
    mended = mend(f"<p>one</p>{_VIEW}<p>two</p>{_VIEW}")
    assert mended.count("<noscript>") == 2
    assert mended.startswith(f"<p>one</p>{_VIEW}<noscript><p class=")


def test_formulas_are_announced_once_and_only_where_there_are_any() -> None:
    assert mend('<span class="math notranslate">x</span><div class="math">y</div>').count("in TeX") == 1
    assert mend("<p>aftermath</p>") == "<p>aftermath</p>"


def test_references_have_a_role_that_may_stand_in_a_list() -> None:
    before = '<div role="list" class="citation-list"><div class="citation" role="doc-biblioentry"></div></div>'
    assert mend(before) == '<div role="list" class="citation-list"><div class="citation" role="listitem"></div></div>'


def test_names_of_tests_break_between_words() -> None:
    code = '<code class="docutils literal notranslate"><span class="pre">{}</span></code>'
    broken = "results/<wbr>test_<wbr>store.py::<wbr>test_<wbr>it"
    assert mend(code.format("results/test_store.py::test_it")) == code.format(broken)
    assert mend(code.format("torch.no_grad")) == code.format("torch.no_grad")
