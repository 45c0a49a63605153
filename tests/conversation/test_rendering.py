"""Replies for people to read: citations, footnotes, files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncassist import Message, Reply, Run, UsageError
from asyncassist._wire.converter import structure
from asyncassist.models import Annotation

RUN = structure({"id": "run_1", "thread_id": "thread_1", "status": "completed"}, Run)


def cited(
    text: str | None, file_id: str | None, start: Any = None, end: Any = None, **fields: object
) -> dict[str, object]:
    """Return an annotation that cites a file."""
    reference = None if file_id is None else {"file_id": file_id}
    return {
        "type": "file_citation",
        "text": text,
        "file_citation": reference,
        "start_index": start,
        "end_index": end,
        **fields,
    }


def path(text: str, file_id: str | None, start: Any = None) -> dict[str, object]:
    """Return an annotation of the path of a file."""
    reference = None if file_id is None else {"file_id": file_id}
    return {"type": "file_path", "text": text, "file_path": reference, "start_index": start, "end_index": None}


def part(value: str, *annotations: object) -> dict[str, object]:
    """Return a content part of text."""
    return {"type": "text", "text": {"value": value, "annotations": list(annotations)}}


def message(*content: object) -> Message:
    """Return a message of these parts."""
    return structure({"id": "msg_1", "thread_id": "thread_1", "role": "assistant", "content": list(content)}, Message)


def render(value: str, *annotations: object, **options: Any) -> str:
    """Return the text of a message of one part."""
    return message(part(value, *annotations)).render(**options)


A, B = "【4:0†a.pdf】", "【4:1†b.pdf】"


def test_footnotes_number_the_sources_in_the_order_of_the_text() -> None:
    """One number for each file, however often it is cited, and its id below the text."""
    text = f"First{B}, second{A}, first again{B}."
    annotations = [cited(A, "file_a", 20, 31), cited(B, "file_b", 5, 16), cited(B, "file_b", 43, 54)]

    assert render(text, *annotations) == "First[1], second[2], first again[1].\n\n[1] file_b\n[2] file_a"


def test_footnotes_have_names_where_there_are_some() -> None:
    """A file without a name goes by its id."""
    shown = render(f"x{A}{B}", cited(A, "file_a"), cited(B, "file_b"), names={"file_a": "Report.pdf"})

    assert shown == "x[1][2]\n\n[1] Report.pdf\n[2] file_b"


def test_citations_can_be_stripped() -> None:
    """Also marks that no annotation tells of; everything else stays as it is."""
    assert render(f"One{A} two{B}, 【three】 † four.", cited(A, "file_a"), citations="strip") == (
        "One two, 【three】 † four."
    )
    assert render(f"{A}", citations="strip") == ""


def test_marks_without_an_annotation_stay_unless_stripped() -> None:
    """Nothing is known of their source."""
    assert render(f"One{A}") == f"One{A}"
    assert render(f"One{A}", citations=lambda annotation, number: "!") == f"One{A}"


def test_a_function_says_what_stands_there() -> None:
    """It gets each annotation and the number of its source; paths of files are among them."""
    seen: list[tuple[Annotation, int]] = []

    def link(annotation: Annotation, number: int) -> str:
        seen.append((annotation, number))
        return f"<{number}>"

    text = f"See [it](sandbox:/mnt/a.csv){A} and{B}{A}."
    shown = render(
        text, path("sandbox:/mnt/a.csv", "file_c", 9), cited(A, "file_a"), cited(B, "file_b"), citations=link
    )

    assert shown == "See [it](<1>)<2> and<3><2>."
    assert [(annotation.type, number) for annotation, number in seen] == [
        ("file_path", 1),
        ("file_citation", 2),
        ("file_citation", 3),
        ("file_citation", 2),
    ]


@pytest.mark.parametrize("citations", ["footnotes", "strip"])
def test_paths_of_files_stay_in_their_links(citations: Any) -> None:
    """Without the path the link would be broken."""
    text = "Get [it](sandbox:/mnt/a.csv)."

    assert render(text, path("sandbox:/mnt/a.csv", "file_c", 9), citations=citations) == text


@pytest.mark.parametrize(
    ("start", "end"), [(0, 3), (None, None), (999, 1010), (-5, 2), (7, 18), (2**70, 2**70 + 1), (5, 4)]
)
def test_the_mark_counts_more_than_its_indices(start: Any, end: Any) -> None:
    """Wrong, absent or counted in another unit: the mark is found, and no letter beside it is touched."""
    assert render(f"🎉é{A}!", cited(A, "file_a", start, end)) == "🎉é[1]!\n\n[1] file_a"


def test_indices_alone_do_where_there_is_no_text() -> None:
    """As far as they are within the text and not taken; else the source is told below only."""
    annotations = [cited(None, "file_a", 3, 6), cited("", "file_b", 4, 7), cited("", "file_c", 5, 99)]

    assert render("oneXXXtwo", *annotations) == "one[1]two\n\n[1] file_a\n[2] file_b\n[3] file_c"


def test_indices_choose_among_equal_marks() -> None:
    """An annotation goes to the one it points at, else to the nearest that is free."""
    text = "(*) one (*) two (*) three (*)"
    annotations = [cited("(*)", "file_a", 15, 18), cited("(*)", "file_b", 8, 11), cited("(*)", "file_c", 24, 27)]

    assert render(text, *annotations).partition("\n")[0] == "(*) one [1] two [2] three [3]"
    assert render("a (*) b (*)", cited("(*)", "file_a")).partition("\n")[0] == "a [1] b (*)"


def test_equal_marks_mean_the_same_source() -> None:
    """A mark of file search that is repeated without an annotation of its own is replaced too."""
    assert render(f"x{A} y{A}", cited(A, "file_a", 1, 12)) == "x[1] y[1]\n\n[1] file_a"
    # Two annotations that both point at the first: a server that looks for its marks from the start.
    twice = [cited(A, "file_a", 1, 12)] * 2
    assert render(f"x{A} y{A}", *twice) == "x[1] y[1]\n\n[1] file_a"
    assert render(f"x{A}", *twice) == "x[1]\n\n[1] file_a"


def test_one_mark_may_have_several_sources() -> None:
    """Each has its number."""
    at = (1, 12)
    assert render(f"x{A}.", cited(A, "file_a", *at), cited(A, "file_b", *at)) == "x[1][2].\n\n[1] file_a\n[2] file_b"
    assert render(f"x{A}.", cited(A, "file_a"), cited(A, "file_b")) == "x[1][2].\n\n[1] file_a\n[2] file_b"


def test_marks_do_not_overlap() -> None:
    """A long one is not taken apart by a short one inside it, whose source is told below."""
    short = [cited("4:0", "file_b", 2, 5), cited("4:0", "file_b")]
    for found in ([*short, cited(A, "file_a", 1, 12)], [cited(A, "file_a"), short[1]]):
        assert render(f"x{A}", *found) == "x[1]\n\n[1] file_a\n[2] file_b"
    assert render("abcd", cited("bc", "file_a"), cited("cd", "file_b", 2, 4)).partition("\n")[0] == "ab[1]"
    assert render("abcd", cited("bcd", "file_a"), cited("ab", "file_b")).partition("\n")[0] == "a[1]"


def test_a_source_that_marks_nothing_is_told_below() -> None:
    """The server left the mark out, or changed it."""
    assert render("Words.", cited(A, "file_a")) == "Words.\n\n[1] file_a"
    assert render("", cited(A, "file_a")) == "[1] file_a"


def test_a_citation_without_a_file_has_a_number() -> None:
    """There is no id to tell."""
    assert render(f"x{A}{B}", cited(A, None), cited(B, "")) == (
        "x[1][2]\n\n[1] a file the server did not name\n[2] a file the server did not name"
    )


def test_citations_of_other_kinds_are_known_by_their_marks() -> None:
    """Those of web pages tell title and address; what annotates the words themselves leaves them alone."""
    web = {"type": "url_citation", "text": A, "url_citation": {"url": "https://x.example", "title": "X"}}
    flat = {"type": "other_citation", "text": B, "file_id": "file_b", "start_index": 12, "end_index": 23}
    bare = {"text": "【9†z】"}
    words = {"type": "url_citation", "text": "words", "start_index": 0, "end_index": 5}
    shapeless = {"type": "odd", "text": 5, "odd": "?"}

    shown = render(f"words{A}{B}【9†z】", web, flat, bare, words, shapeless)
    assert shown == "words[1][2][3]\n\n[1] X https://x.example\n[2] file_b\n[3] 【9†z】"
    assert render(f"words{A}", web, words, citations="strip") == "words"


@pytest.mark.parametrize("citations", ["footnote", None, 5])
def test_other_ways_to_render_are_refused(citations: Any) -> None:
    """With the ways there are."""
    with pytest.raises(UsageError, match=r'must be "footnotes", "strip" or a function, got'):
        message().render(citations)


def test_what_a_function_returns_must_be_text() -> None:
    """A wrong one is a TypeError."""
    with pytest.raises(TypeError, match="must be a str, got NoneType"):
        render(A, cited(A, "file_a"), citations=lambda annotation, number: None)


def test_only_text_is_rendered() -> None:
    """Images and refusals have none; text parts are joined as in `Message.text`."""
    image = {"type": "image_file", "image_file": {"file_id": "file_i"}}
    both = message(part("One"), image, part(f" two{A}", cited(A, "file_a")), {"type": "refusal", "refusal": "No."})

    assert both.render() == "One two[1]\n\n[1] file_a"
    assert both.text == f"One two{A}"
    assert message().render() == ""


def test_a_reply_has_one_list_of_sources() -> None:
    """Its messages are parted by empty lines, those without text left out, and share their numbers."""
    messages = [
        message(part(f"One{A}", cited(A, "file_a"))),
        message(),
        message(part(f"two{B}{A}", cited(A, "file_a"))),
    ]
    reply = Reply(RUN, messages)

    assert reply.messages == tuple(messages)
    assert reply.text == f"One{A}\n\ntwo{B}{A}"
    assert reply.render() == f"One[1]\n\ntwo{B}[1]\n\n[1] file_a"
    assert reply.render("strip") == "One\n\ntwo"
    assert reply.render(lambda annotation, number: f"({number})") == f"One(1)\n\ntwo{B}(1)"


def test_a_reply_names_its_files() -> None:
    """Those that were made, images included, and those that are cited; each once, in order."""
    image = {"type": "image_file", "image_file": {"file_id": "file_i"}}
    reply = Reply(
        RUN,
        [
            message(part("x", cited(A, "file_b"), path("p", "file_p"), path("q", None)), image),
            message(
                part("y", cited(B, "file_a"), cited(A, "file_b"), cited(A, None), path("p", "file_p"), {"type": "odd"}),
                {"type": "image_file", "image_file": None},
                {"type": "image_file", "image_file": {"file_id": "file_j"}},
            ),
        ],
    )

    assert reply.files == ("file_i", "file_j", "file_p")
    assert reply.cited_files == ("file_b", "file_a")


@pytest.mark.anyio
async def test_the_names_of_files_are_asked_for_at_once() -> None:
    """Each once, for the footnotes."""
    reply = Reply(RUN, [message(part(f"x{A}{B}{A}", cited(A, "file_a"), cited(B, "file_b")))])
    asked: list[str] = []
    all_asked = anyio.Event()

    async def look_up(file_id: str) -> str:
        asked.append(file_id)
        if len(asked) == 2:
            all_asked.set()
        await all_asked.wait()
        return f"{file_id}.pdf"

    with anyio.fail_after(5):
        names = await reply.file_names(look_up)

    assert asked in (["file_a", "file_b"], ["file_b", "file_a"])
    assert reply.render(names=names) == "x[1][2][1]\n\n[1] file_a.pdf\n[2] file_b.pdf"


@pytest.mark.anyio
async def test_a_name_that_cannot_be_had_is_an_error() -> None:
    """What the lookup raises passes through as it is, and the others are ended."""
    reply = Reply(RUN, [message(part("x", cited(A, "file_a"), cited(B, "file_b")))])

    async def look_up(file_id: str) -> str:
        if file_id == "file_a":
            await anyio.sleep_forever()
        raise KeyError(file_id)

    with pytest.raises(KeyError, match="file_b"):
        await reply.file_names(look_up)


# Properties.

STAND_IN = "\ue000"
plain = st.text(st.characters(exclude_characters=STAND_IN + "【】"), max_size=8) | st.sampled_from(
    ["[1]", "(*)", "†", "🎉", "e\u0301", "\n\n"]
)
file_ids = st.sampled_from(["file_a", "file_b", None])
indices = st.integers(-3, 40) | st.none()


@st.composite
def texts(draw: st.DrawFn) -> tuple[Sequence[str], Sequence[dict[str, object]]]:
    """Draw pieces of text, every other one a mark, and annotations that tell of some, with any indices."""
    marks = draw(st.lists(st.sampled_from([f"【{n}:{m}†source】" for n in range(2) for m in range(3)]), max_size=6))
    pieces = [draw(plain)]
    annotations: list[dict[str, object]] = []
    for mark in marks:
        start = len("".join(pieces))
        pieces += [mark, draw(plain)]
        for _ in range(draw(st.integers(0, 2))):
            where = draw(st.just((start, start + len(mark))) | st.tuples(indices, indices))
            annotations.append(cited(mark, draw(file_ids), *where))
    for _ in range(draw(st.integers(0, 2))):  # of marks that are not there
        annotations.append(cited(draw(st.sampled_from(["【9:9†gone】", f"【8†{STAND_IN}】"])), draw(file_ids), 0, 3))
    return pieces, draw(st.permutations(annotations))


@given(texts())
@example((["", "【0:0†source】", "【", "【0:0†source】", ""], [cited("【0:0†source】", "file_a", 0, 3)]))
def test_no_text_outside_of_marks_is_lost(drawn: tuple[Sequence[str], Sequence[dict[str, object]]]) -> None:
    """Whatever the annotations say: the text between the marks stays as it is, and each annotated mark is replaced."""
    pieces, annotations = drawn
    value = "".join(pieces)
    between = "".join(pieces[::2])
    told = {annotation["text"] for annotation in annotations}
    kept = "".join([piece for index, piece in enumerate(pieces) if index % 2 == 0 or piece not in told])

    assert render(value, *annotations, citations="strip") == between
    assert render(value, *annotations, citations=lambda annotation, number: STAND_IN).replace(STAND_IN, "") == kept
    shown = render(value, *annotations)
    assert "[1] " in shown or not annotations
    if "[" not in between and annotations:
        body = shown[: shown.rindex("[1] ")].removesuffix("\n\n")
        assert re.sub(r"\[\d+\]", "", body) == kept


@given(st.text(max_size=60), st.lists(st.tuples(st.text(max_size=4), indices, indices, file_ids), max_size=6))
def test_any_annotation_can_be_rendered(value: str, drawn: Sequence[tuple[str, Any, Any, Any]]) -> None:
    """No text and no indices make rendering fail, and the stretches it takes are those of the annotations."""
    annotations = [cited(text, file_id, start, end) for text, start, end, file_id in drawn]
    taken: list[Annotation] = []

    def keep(annotation: Annotation, number: int) -> str:
        taken.append(annotation)
        return ""

    shown = render(value, *annotations, citations=keep)
    longest = sum(max(len(text), (end or 0) - (start or 0), 0) for text, start, end, _ in drawn)
    assert len(value) - longest <= len(shown) <= len(value) or "†" in value
    letters = iter(value)
    assert all(letter in letters for letter in shown)  # a subsequence
    for way in ("footnotes", "strip"):
        render(value, *annotations, citations=way)


def test_large_texts_are_rendered_in_reasonable_time() -> None:
    """Thousands of marks and annotations, with right and with wrong indices."""
    count = 4000
    value = "word " + "".join([f"{A} word " for _ in range(count)])
    right = [cited(A, f"file_{n}", 5 + n * 17, 16 + n * 17) for n in range(count)]
    wrong = [cited(A, f"file_{n}", 0, 3) for n in range(count)]
    begun = perf_counter()
    for drawn in (right, wrong):
        assert render(value, *drawn, citations="strip") == "word " + " word " * count
    render("【†" * 100_000, citations="strip")
    at_one_place = [cited("【†】", f"file_{n}", 0, 3) for n in range(count)]
    assert len(render("【†】" * 100_000, *at_one_place)) < 2_000_000
    nowhere = [cited(f"text {n}", f"file_{n}") for n in range(count)]
    render("x" * 1_000_000, *nowhere, cited("x", "file_x"))

    assert perf_counter() - begun < 10
