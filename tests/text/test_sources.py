"""Texts in files: every format, row by row, and what is said of broken ones."""

import csv
import gzip
import json
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from keras_seq.fingerprint import hash_data
from keras_seq.text import readers, sources
from keras_seq.text.corpus import Corpus, split_stratified
from keras_seq.text.inputs import check_input, check_unlabelled
from keras_seq.text.normalization import Splitter, unicode_table
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.sources import Columns, TextFiles
from keras_seq.text.spooling import tokenize_blocks
from keras_seq.text.streaming import StreamedTexts, text_parts
from keras_seq.text.tokenizing import sign_texts, tokenize

TEXTS = [
    "so good",
    'a "quoted", word',
    "two\nlines",
    "",
    "NA",
    "好的。",
    "so good",
    " x",
]
LABELS = ["pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg"]
SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".ndjson.gz", ".json", ".parquet")


def write(path, texts=TEXTS, labels=LABELS, names=("text", "label")):
    """The rows as another tool writes them, with a column that nobody asks for."""
    columns = {"id": range(len(texts)), names[1]: labels, names[0]: texts}
    frame = pd.DataFrame(columns)
    if ".csv" in path.name:
        frame.to_csv(path, index=False)
    elif path.name.endswith(".parquet"):
        frame.to_parquet(path, row_group_size=3)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def read(given, columns=None, classes=None, multi_label=False):
    options = {"columns": columns, "classes": classes, "multi_label": multi_label}
    texts, labels = check_input(given, None, **options)
    return list(texts), labels


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_every_format_gives_the_rows_in_order(tmp_path, monkeypatch, suffix, chunk):
    monkeypatch.setattr(sources, "CHUNK_TEXTS", chunk)
    path = write(tmp_path / f"a{suffix}")
    assert read(path) == (TEXTS, LABELS)
    assert read(str(path)) == (TEXTS, LABELS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_have_any_name(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", names=("review", "stars"))
    assert read(path, Columns("review", "stars")) == (TEXTS, LABELS)


def test_several_files_are_one_after_another(tmp_path):
    paths = [write(tmp_path / f"a{suffix}") for suffix in SUFFIXES]
    assert read(paths) == (TEXTS * len(paths), LABELS * len(paths))


def test_folder_with_a_subfolder_for_each_class(tmp_path):
    for label, text in [("neg", "bad"), ("pos", "good\r\n"), ("neg", "\ufeffso bad")]:
        folder = tmp_path / label
        folder.mkdir(exist_ok=True)
        (folder / f"{len(list(folder.iterdir()))}.txt").write_bytes(text.encode())
    (tmp_path / "README").write_text("no class")
    (tmp_path / "neg" / ".hidden").write_text("no text")
    assert read(tmp_path) == (["bad", "so bad", "good\r\n"], ["neg", "neg", "pos"])


def test_marks_and_line_ends_of_other_systems(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nso good,1\r\n\r\nso bad,0\r\n")
    assert read(path) == (["so good", "so bad"], [1, 0])
    path = tmp_path / "a.jsonl"
    rows = b'{"text": "a\xe2\x80\xa8b", "label": "x"}\r\n\n{"label": "y", "text": ""}'
    path.write_bytes(b"\xef\xbb\xbf" + rows)
    assert read(path) == (["a\u2028b", ""], ["x", "y"])


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (["1", "0", "-12"], [1, 0, -12]),
        (["True", "False", "True"], [True, False, True]),
        (["1", "no", "True"], ["1", "no", "True"]),
        (["01", "2", "3"], ["01", "2", "3"]),
    ],
)
def test_labels_of_csv_are_numbers_if_all_are(tmp_path, written, labels):
    found = read(write(tmp_path / "a.csv", ["a", "b", "c"], written))[1]
    assert found == labels
    assert {type(label) for label in found} == {type(labels[0])}


def test_labels_of_csv_are_words_beside_words(tmp_path):
    table = write(tmp_path / "a.csv", ["a", "b"], ["1", "2"])
    words = write(tmp_path / "b.jsonl", ["c"], ["1"])
    numbers = write(tmp_path / "c.jsonl", ["c"], [1])
    assert read([table, words])[1] == ["1", "2", "1"]
    assert read([table, numbers])[1] == [1, 2, 1]
    assert read(table, classes=np.array(["1", "2"]))[1] == ["1", "2"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("labels", [[1, 0], [True, False], ["1", "0"]])
def test_labels_of_typed_files_keep_their_type(tmp_path, suffix, labels):
    found = read(write(tmp_path / f"a{suffix}", ["a", "b"], labels))[1]
    assert [(type(x), x) for x in found] == [(type(x), x) for x in labels]


def test_categories_of_parquet_are_words(tmp_path):
    frame = pd.DataFrame({"text": pd.Categorical(["a", "b"]), "label": ["x", "y"]})
    frame.astype({"label": "category"}).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == (["a", "b"], ["x", "y"])


def lines(*rows):
    return "\n".join(rows).encode()


GOOD = '{"text": "a", "label": "x"}'
OTHER = GOOD.replace('"x"', '"y"')
BROKEN = {
    "fields": (".csv", lines("text,label", "a,x", "b,c,y", "d,y"), 3, "has 3 fields"),
    "too few": (".csv", lines("text,label", "a,x", "b", "d,y"), 3, "the header has 2"),
    "after lines": (
        ".csv",
        lines("text,label", '"a', 'b",x', "b,c,y", "d,y"),
        4,
        "it has 3 fields, the header has 2",
    ),
    "quote": (".csv", lines("text,label", "a,x", '"b" c,y', "d,y"), 3, "it is no CSV"),
    "open quote": (
        ".csv",
        lines("text,label", "a,x", "d,y", '"b,y'),
        4,
        "a quote that is opened here is not closed",
    ),
    "no label": (".csv", lines("text,label", "a,x", "b,", "d,y"), 3, "label is missi"),
    "bytes": (".csv", b"text,label\na,x\nb\xe9,y\nd,y", 3, "not UTF-8: byte 0xe9"),
    "no JSON": (".jsonl", lines(GOOD, "{text}", OTHER), 2, "no JSON"),
    "no object": (".jsonl", lines(GOOD, "3", OTHER), 2, "but int"),
    "digits": (".jsonl", lines(GOOD, "9" * 5000, OTHER), 2, "no JSON that can be read"),
    "no text": (
        ".jsonl",
        lines(GOOD, '{"label": "x"}', OTHER),
        2,
        "the text is missing (column 'text')",
    ),
    "null": (
        ".jsonl",
        lines(GOOD, '{"text": "a", "label": null}', OTHER),
        2,
        "the label is missing (column 'label')",
    ),
    "number": (
        ".jsonl",
        lines(GOOD, '{"text": 3, "label": "x"}', OTHER),
        2,
        "the text (column 'text') is no string but 3",
    ),
    "float": (
        ".jsonl",
        lines(GOOD, '{"text": "b", "label": 0.5}', OTHER),
        2,
        "must be a str, an int or a bool, it is 0.5",
    ),
    "bytes of JSON": (
        ".jsonl",
        lines(GOOD, OTHER).replace(b"a", b"\xff", 1) + lines("", GOOD),
        1,
        "it is not UTF-8: byte 0xff, invalid start byte",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_row_is_named_or_skipped(tmp_path, case, packed):
    suffix, data, line, reason = BROKEN[case]
    path = tmp_path / f"a{suffix}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(data) if packed else data)
    message = re.escape(f"{path}, line {line}: ") + ".*" + re.escape(reason)
    with pytest.raises(ValueError, match=message + ".*on_bad_rows"):
        read(path)
    skipped = f"1 bad rows were skipped, the first: {message}"
    with pytest.warns(UserWarning, match=skipped) as caught:
        texts, labels = read(path, Columns(on_bad_rows="skip"))
    assert len(caught) == 1  # though the rows were read twice
    assert len(texts) == 2 and sorted(labels) == ["x", "y"]


def test_broken_rows_of_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    texts = pa.array([b"a", b"\xff", b"c", None], pa.binary()).view(pa.string())
    pyarrow.parquet.write_table(pa.table({"text": texts, "label": [*"xyyx"]}), path)
    with pytest.raises(ValueError, match="a.parquet, row 2: it is not UTF-8: byte 0xf"):
        read(path)
    with pytest.warns(UserWarning, match="2 bad rows were skipped, the first: .* 2"):
        assert read(path, Columns(on_bad_rows="skip")) == (["a", "c"], ["x", "y"])


def test_broken_documents(tmp_path):
    for label in "xy":
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text("good")
    (tmp_path / "x" / "2.txt").write_bytes(b"one\ntwo \xe9")
    with pytest.raises(ValueError, match=r"2.txt, line 2: it is not UTF-8: byte 0xe9"):
        read(tmp_path)
    with pytest.warns(UserWarning, match="1 bad rows were skipped"):
        assert read(tmp_path, Columns(on_bad_rows="skip"))[1] == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"\n\n", "a.csv is empty"),
        ("a.csv", b"text,label\n", "a.csv has no rows"),
        (
            "a.csv",
            b"txet,label\na,x",
            "no column 'text' .`text_col`.*Did you mean 'txet'",
        ),
        ("a.csv", b"text,labels\na,x", "no column 'label'.*columns are: text, labels"),
        ("a.csv", b"text,text,label\na,b,x", "has 2 columns 'text'"),
        ("a.csv", b"t\xff,label\na,x", "a.csv, line 1: it is not UTF-8"),
        ("a.csv", b"text,label\na,x\nb,x", r"two classes. Received only: \['x'\]"),
        ("a.csv.gz", b"text,label", "a.csv.gz cannot be read: Not a gzipped file"),
        (
            "a.csv.gz",
            gzip.compress(b"text,label\n" * 9, mtime=0)[:-9],
            "cannot be read: Compr",
        ),
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.jsonl", b"\n", "a.jsonl has no rows"),
        ("a.jsonl", b'{"txt": "a", "label": 1}', "no column 'text'.*mean 'txt'"),
        ("a.json", b'[{"text": "a", "label": 1}]', "list, and JSON lines are one obje"),
        ("a.json", b'{\n"text": "a"\n}', "JSON lines are one object on each line"),
        ("a.parquet", b"", "a.parquet is empty"),
        ("a.parquet", b"text,label\na,x", "a.parquet is no Parquet"),
        ("a.tsv", b"", "unknown suffix, '.tsv'. Texts are read from .csv, .csv.gz"),
        ("text.gz", b"", "unknown suffix, '.gz'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


ODD = ["a\0b\0", "lone \ud800 surrogates \udc80", "word " * 2_000_000]


def test_odd_texts_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": text, "label": row} for row, text in enumerate(ODD)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read(path) == (ODD, [0, 1, 2])
    texts, labels = [ODD[0], ODD[2]], [0, 1]
    write(tmp_path / "a.parquet", texts, labels)
    assert read(tmp_path / "a.parquet") == (texts, labels)
    write(tmp_path / "a.csv", [ODD[0], "b"], labels)
    assert read(tmp_path / "a.csv") == ([ODD[0], "b"], labels)


def test_a_cell_of_megabytes_is_read(tmp_path):
    texts = ["a", "two\nlines, " * 1_000_000, "c"]
    path = write(tmp_path / "a.csv", texts, ["x", "y", "z"])
    assert read(path) == (texts, ["x", "y", "z"])


def test_a_cell_beyond_the_limit_is_refused_as_an_open_quote_would_be(
    tmp_path, monkeypatch
):
    path = write(tmp_path / "a.csv", ["a", ODD[2], "c"], ["x", "y", "z"])
    monkeypatch.setattr(readers, "_CSV_FIELD", 0)
    csv.field_size_limit(1 << 17)
    with pytest.raises(ValueError, match=r"line 3: .*raise csv.field_size_limit"):
        read(path)
    with pytest.warns(UserWarning, match="1 bad rows were skipped"):
        assert read(path, Columns(on_bad_rows="skip"))[1] == ["x", "z"]


def test_just_the_broken_record_of_csv_is_skipped(tmp_path):
    path, skip = tmp_path / "a.csv", Columns(on_bad_rows="skip")
    good = [f"text {row},{'xy'[row % 2]}" for row in range(40)]
    good[30] = '"a quoted, text",y'
    expected = [row.replace('"', "") for row in good]
    for broken in (b'"an open quote,x', b'"a\nt\xffxt, of\nthree lines",x'):
        rows = [*map(str.encode, good[:20]), broken, *map(str.encode, good[20:])]
        path.write_bytes(b"\n".join([b"text,label", *rows]))
        with pytest.warns(UserWarning, match="^1 bad rows were skipped"):
            texts, labels = read(path, skip)
        found = [f"{t},{v}" for t, v in zip(texts, labels, strict=True)]
        assert found == expected


def test_a_number_of_thousands_of_digits_is_a_bad_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(GOOD, '{"text": "a", "label": ' + "1" * 5000 + "}", OTHER))
    with pytest.raises(ValueError, match=r"a.jsonl, line 2: .*Exceeds the limit"):
        read(path)
    with pytest.warns(UserWarning, match="^1 bad rows were skipped"):
        assert len(read(path, Columns(on_bad_rows="skip"))[0]) == 2


def test_labels_that_cannot_be_saved_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD + "\n" + '{"text": "b", "label": "\\ud800"}')
    with pytest.raises(ValueError, match=r"line 2: .*lone surrogate: '\\ud800'"):
        read(path)


LISTS = [["a", "b"], [], ["b"], ["a"]]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("kind", [str, int])
def test_several_labels(tmp_path, suffix, kind):
    lists = [[kind("ab".index(label)) for label in given] for given in LISTS]
    cells = ["0; 1", "", "1", "0;"] if suffix == ".csv" else lists
    path = write(tmp_path / f"a{suffix}", TEXTS[:4], cells)
    columns = Columns(label_sep=";") if suffix == ".csv" else None
    classes = np.array(["0", "1"] if kind is str else [0, 1])
    found = read(path, columns, classes, multi_label=True)
    assert found == (TEXTS[:4], lists)
    if suffix != ".csv" or kind is int:  # else words become numbers
        assert read(path, columns, multi_label=True) == found


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ('"x"', "must be a list, [] for none, since multi_label=True, it is 'x'"),
        ("null", "the label is missing"),
        ('["x", null]', "must hold str or int, it holds None"),
        ('["x", true]', "must hold str or int, it holds True"),
        ('["x", "x"]', "has one twice"),
    ],
)
def test_broken_lists_of_labels(tmp_path, label, message):
    path = tmp_path / "a.jsonl"
    good = GOOD.replace('"x"', '["x"]')
    path.write_text("\n".join([good, good.replace('["x"]', label)]))
    with pytest.raises(ValueError, match=f"line 2: .*{re.escape(message)}"):
        read(path, multi_label=True)
    with pytest.warns(UserWarning, match="1 bad rows"):
        read(path, Columns(on_bad_rows="skip"), multi_label=True)


def test_where_several_labels_cannot_be(tmp_path):
    path = write(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="a.csv is CSV, where `label_sep` tells"):
        read(path, multi_label=True)
    with pytest.raises(ValueError, match="`label_sep` .*is for multi_label=True"):
        read(path, Columns(label_sep=";"))
    with pytest.raises(ValueError, match="`label_sep` must be text.*label_sep=''"):
        read(path, Columns(label_sep=""), multi_label=True)
    (tmp_path / "folder" / "pos").mkdir(parents=True)
    with pytest.raises(ValueError, match="is a folder, whose subfolders give.*one lab"):
        read(tmp_path / "folder", multi_label=True)
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD.replace('"x"', '["x"]'))
    with pytest.raises(ValueError, match=r"it is \['x'\] \(for several give multi_la"):
        read(path)
    path.write_text("\n".join(GOOD.replace('"x"', x) for x in ('["x"]', "[1]")))
    with pytest.raises(TypeError, match=r"'x' \(.*line 1\) and 1 \(.*line 2\)"):
        read(path, multi_label=True)


def test_mixed_labels_say_where(tmp_path):
    path = write(tmp_path / "a.jsonl", ["a", "b"], [1, 2])
    other = write(tmp_path / "b.jsonl", ["a", "b"], ["x", "y"])
    with pytest.raises(TypeError, match=r"1 \(.*a.jsonl, line 1\) and 'x' \(.*line 1"):
        read([path, other])
    path.write_text("\n".join([GOOD, GOOD.replace('"x"', "true")]))
    with pytest.raises(TypeError, match=r"'x' \(.*line 1\) and True \(.*line 2\)"):
        read(path)


def test_unknown_labels_say_where(tmp_path):
    path = write(tmp_path / "a.csv", ["a", "b"], ["yes", "maybe"])
    with pytest.raises(ValueError, match="a.csv, line 3: the label.*Received: 'maybe'"):
        read(path, classes=np.array(["no", "yes"]))
    path = write(tmp_path / "a.jsonl", ["a", "b"], [True, False])
    with pytest.raises(ValueError, match="line 1: the label.*Received: True"):
        read(path, classes=np.array([0, 1]))


def test_folders_that_are_no_classes(tmp_path):
    with pytest.raises(ValueError, match="is a folder without subfolders: one for"):
        read(tmp_path)
    write(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"Tables are given as a list: \[Path\("):
        read(tmp_path)
    (tmp_path / "pos").mkdir()  # beside which a table may tell about the texts
    with pytest.raises(ValueError, match="has no rows"):
        read(tmp_path)
    (tmp_path / "pos" / "1.txt").write_text("good")
    with pytest.raises(ValueError, match=r"two classes. Received only: \['pos'\]"):
        read(tmp_path)
    table = write(tmp_path / "pos" / "all.csv")
    with pytest.raises(ValueError, match=r"'pos' has tables: 'all.csv'. Tables are"):
        read(tmp_path)
    table.unlink()
    (tmp_path / "pos" / "more").mkdir()
    with pytest.raises(ValueError, match="pos has folders of its own.*is it the fold"):
        read(tmp_path)


def test_a_folder_to_label_is_all_texts(tmp_path):
    (tmp_path / "1.txt").write_text("good")
    assert list(check_unlabelled(tmp_path, Columns())) == ["good"]
    (tmp_path / "a.csv.gz").touch()
    with pytest.raises(ValueError, match=r"has tables: 'a.csv.gz'. Tables are given"):
        check_unlabelled(tmp_path, Columns())
    (tmp_path / "a.csv.gz").unlink()
    (tmp_path / "old").mkdir()
    with pytest.raises(ValueError, match="must hold files or folders.*'1.txt', 'old'"):
        check_unlabelled(tmp_path, Columns())


def test_what_is_no_path(tmp_path):
    with pytest.raises(ValueError, match="There is no file .*none.csv"):
        read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="There is no file none.csv"):
        read("none.csv")
    for text in ("one text", "a\0b", "x" * 5000):
        with pytest.raises(
            TypeError, match=r"pass a list, \[text\].*none of this name"
        ):
            read(text)
    with pytest.raises(TypeError, match=r"which are texts and need `labels`.*\[Path\("):
        read(["a.csv", "b.csv"])
    with pytest.raises(TypeError, match="must hold pathlib.Path only.*'b.csv'"):
        read([Path("a.csv"), "b.csv"])
    with pytest.raises(TypeError, match=r"must be texts or files.*only.*1: .*b.csv"):
        check_input(["a.csv", Path("b.csv")], ["x", "y"])
    path = write(tmp_path / "a.csv")
    with pytest.raises(TypeError, match="`labels` must be None beside files"):
        check_input(path, LABELS)
    with pytest.raises(ValueError, match="`on_bad_rows` must be one of"):
        read(path, Columns(on_bad_rows="ignore"))


def test_a_file_that_changes_is_noticed(tmp_path):
    path = write(tmp_path / "a.csv")
    texts, _ = check_input(path, None)
    write(path, [*TEXTS, "more"], [*LABELS, "pos"])
    with pytest.raises(ValueError, match="a.csv changed while it was read"):
        list(texts)


def test_a_part_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_TEXTS", 3)
    texts, _ = check_input(write(tmp_path / "a.csv"), None)
    part = texts.take(np.array([0, 2, 5, 6]))
    assert list(part) == [TEXTS[row] for row in (0, 2, 5, 6)] and len(part) == 4
    assert part.text_ids().tolist() == [0, 1, 2, 0]
    deeper = part.take(np.array([1, 3]))
    assert list(deeper) == [TEXTS[2], TEXTS[6]] and len(deeper) == 2
    assert [text for texts in text_parts(part) for text in texts] == list(part)


def test_the_split_is_that_of_lists(tmp_path):
    random = np.random.default_rng(0)
    texts = [f"text {number}" for number in random.integers(200, size=500)]
    labels = [["neg", "pos"][number] for number in random.integers(2, size=500)]
    streamed, _ = check_input(write(tmp_path / "a.csv", texts, labels), None)
    targets = np.array([label == "pos" for label in labels], np.int32)
    weights = random.random(500).astype(np.float32)
    classes = np.array(["neg", "pos"])
    expected, found = (
        split_stratified(Corpus(part, targets, weights), classes, 0.2, seed=3)
        for part in (texts, streamed)
    )
    for ours, theirs in zip(expected, found, strict=True):
        assert list(theirs.texts) == ours.texts
        np.testing.assert_array_equal(theirs.targets, ours.targets)
        np.testing.assert_array_equal(theirs.weights, ours.weights)


@pytest.mark.parametrize("max_tokens", [10, 100_000])
def test_ids_are_those_of_lists(tmp_path, monkeypatch, max_tokens):
    monkeypatch.setattr(sources, "CHUNK_TEXTS", 7)
    monkeypatch.setattr("keras_seq.text.streaming.BLOCK_CHARACTERS", 500)
    monkeypatch.setattr("keras_seq.text.tokenizing._PART", 50)
    random = np.random.default_rng(0)
    texts = [
        " ".join(f"w{word}" for word in random.zipf(1.3, random.integers(12)))
        for _ in range(100)
    ]
    texts += [" ".join(f"v{word}" for word in range(70_000))] * 2  # beyond uint16
    labels = ["a", "b"] * 51
    streamed, _ = check_input(write(tmp_path / "a.jsonl", texts, labels), None)
    preprocessor = TextPreprocessor(max_tokens=max_tokens, truncation="head_tail")
    state, arrays = preprocessor.fit(texts).get_state()
    expected = preprocessor.transform(texts)
    found = preprocessor.encode(preprocessor.tokenize(streamed))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    assert isinstance(found.ids.base, np.memmap)
    np.testing.assert_array_equal(preprocessor.transform(streamed).ids, expected.ids)
    assert found.ids.itemsize == (2 if max_tokens == 10 else 4)
    twin = TextPreprocessor(max_tokens=max_tokens, truncation="head_tail")
    assert twin.fit(streamed).get_state()[0] == state
    assert twin.vocabulary_ == preprocessor.vocabulary_


def test_texts_without_tokens_have_no_ids(tmp_path):
    streamed, _ = check_input(write(tmp_path / "a.jsonl", ["", " "], ["x", "y"]), None)
    rows = TextPreprocessor().fit(["a"]).transform(streamed)
    assert rows.ids.size == 0 and rows.lengths.tolist() == [0, 0]


def test_the_rarest_tokens_are_forgotten(monkeypatch):
    monkeypatch.setattr("keras_seq.text.tokenizing._PART", 999)
    random = np.random.default_rng(0)
    texts = [
        " ".join(f"w{word}" for word in random.zipf(1.5, random.integers(30)))
        for _ in range(2000)
    ]
    blocks = [texts[begin : begin + 50] for begin in range(0, 2000, 50)]
    splitter = Splitter(unicode_table(), "whitespace")
    exact, found = tokenize(splitter, texts), tokenize_blocks(splitter, blocks, 400)
    assert len(found.tokens) <= 400 and len(exact.tokens) > 1200
    words = [word for text in texts for word in text.split()]
    kept = [i for i, number in enumerate(found.ids) if number >= 0]
    assert [found.tokens[found.ids[i]] for i in kept] == [words[i] for i in kept]
    count = Counter(words)
    common = [word for word, _ in count.most_common(50)]
    bounded = Counter(words[i] for i in kept)
    assert [bounded[word] for word in common] == [count[word] for word in common]
    np.testing.assert_array_equal(found.lengths, exact.lengths)
    # Texts that differ in forgotten tokens alone are no copies.
    np.testing.assert_array_equal(sign_texts(found), sign_texts(exact))
    preprocessor = TextPreprocessor(max_tokens=50, split="whitespace").fit(texts)
    expected = preprocessor.transform(texts)
    rows = preprocessor.learn(found).encode(found)
    np.testing.assert_array_equal(rows.ids, expected.ids)
    np.testing.assert_array_equal(rows.lengths, expected.lengths)


def test_fingerprint_is_of_contents(tmp_path):
    def digest(path, *columns):
        return hash_data(
            (StreamedTexts(TextFiles.find(path, Columns(*columns), True)),)
        )

    path = write(tmp_path / "a.csv")
    first = digest(path)
    moved = path.rename(tmp_path / "b.csv")
    moved.touch()
    assert digest(moved) == first
    assert digest([moved, moved]) != first
    assert digest(moved, "id") != first
    texts, _ = check_input(moved, None)
    parts = [texts.take(np.array(rows)) for rows in ([0, 1], [0, 1], [0, 2])]
    digests = [hash_data(part) for part in parts]
    assert digests[0] == digests[1] != digests[2] and first not in digests
    write(moved, TEXTS[::-1])
    assert digest(moved) != first


def test_nothing_is_warned_of_good_rows(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(write(tmp_path / "a.csv"), Columns(on_bad_rows="skip"))
