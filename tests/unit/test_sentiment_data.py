"""Labelled texts from every format; wrong files are refused in plain words."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import parse_label_order
from finsight.domain.sentiment import SentimentLabel
from finsight.training.sentiment_data import read_labelled_file, read_labelled_files

ROWS = [("Coin rises,\nsays report", "positive"), ("Coin falls", "negative")]


def a_file(folder: Path, kind: str) -> Path:
    path = folder / f"news.{kind}"
    if kind == "csv":
        path.write_text(
            'id,Sentence,LABEL\n1,"Coin rises,\nsays report",positive\n2,Coin falls,bearish\n'
        )
    elif kind == "jsonl":
        rows = [{"headline": text, "sentiment": label} for text, label in ROWS]
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": [r[0] for r in ROWS], "label": [1, -1]}), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_texts(tmp_path: Path, kind: str) -> None:
    read = read_labelled_file(a_file(tmp_path, kind))
    assert [(text.text, text.label) for text in read] == ROWS
    assert [(text.file, text.row) for text in read] == [(f"news.{kind}", 1), (f"news.{kind}", 2)]


def test_phrase_bank_is_read_whole(shared_data: Path) -> None:
    folder = shared_data / "sentiment" / "FinancialPhraseBank-v1.0"
    texts = read_labelled_file(folder / "Sentences_50Agree.txt")
    assert len(texts) == 4846
    assert sum(text.label is SentimentLabel.NEUTRAL for text in texts) == 2879
    assert texts[0].text.startswith("According to Gran ,")


def test_tweets_are_read_with_the_order_of_their_numbers(shared_data: Path) -> None:
    path = shared_data / "sentiment" / "twitter-financial-news" / "sent_valid.csv"
    with pytest.raises(InvalidInput, match=r"sent_valid\.csv.*--labels"):
        read_labelled_file(path)
    texts = read_labelled_file(path, parse_label_order("negative,positive,neutral"))
    assert len(texts) == 2388
    assert texts[1].label is SentimentLabel.NEGATIVE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "words,label\nup,positive\n", "columns words, label; expected a text column"),
        (
            "a.csv",
            "text,mood\nup,positive\n",
            "expected a label column called label_text or label_name or label",
        ),
        ("a.csv", "text,label\nup,great\n", "unknown labels: 'great'"),
        ("a.csv", "text,label\nup,\ndown,negative\n", "1 texts have no label, the first in row 1"),
        ("a.csv", "text,label\n", "holds no texts"),
        (
            "a.csv",
            "text,label,weight\nup,positive,80\n",
            "row 1 has the weight 80; expected a number",
        ),
        ("a.csv", "text,label\nup,0.35\ndown,-0.2\n", "numbers such as 0.35, not classes"),
        ("a.json", "[1, 2]", "can't be read"),
        ("a.csv", "", "can't be read"),
        ("a.csv", "text,label\nup,positive,3\n", "can't be read"),
        ("a.jsonl", '{"text": "up"', "can't be read"),
        ("a.parquet", "no parquet", "can't be read"),
        ("a.txt", "up@positive\nno label here\n", "line 2 is not text@label"),
        ("a.xlsx", "PK", "the format is not known; known are CSV"),
    ],
)
def test_a_wrong_file_is_refused_in_plain_words(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read_labelled_file(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no file .*nothing\.csv"):
        read_labelled_files([tmp_path / "nothing.csv"])


def test_a_weight_says_how_far_a_label_is_to_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,Confidence\nup,positive,0.6\ndown,negative,\n")
    assert [text.weight for text in read_labelled_file(path)] == [0.6, 1.0]


def test_rows_without_text_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.parquet"
    labels = [float("nan"), 1.0, -1.0]
    pq.write_table(pa.table({"text": [None, "up", "down"], "label": labels}), path)
    assert [text.text for text in read_labelled_file(path)] == ["up", "down"]
    assert "1 rows have no text: left out" in caplog.text
    pq.write_table(pa.table({"text": ["flat", "up", "down"], "label": labels}), path)
    with pytest.raises(InvalidInput, match="1 texts have no label, the first in row 1"):
        read_labelled_file(path)


def test_a_table_without_names_in_latin_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "all-data.csv"
    path.write_bytes(
        'neutral,"It meets in Jyv\u00e4skyl\u00e4, again"\npositive,Sales rose\n'.encode("latin-1")
    )
    read = read_labelled_file(path)
    assert [(text.text, str(text.label)) for text in read] == [
        ("It meets in Jyv\u00e4skyl\u00e4, again", "neutral"),
        ("Sales rose", "positive"),
    ]


def test_a_json_array_is_read_as_its_lines_would_be(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"title": text, "label": label} for text, label in ROWS]))
    assert [(text.text, text.label) for text in read_labelled_file(path)] == ROWS


def a_hub_table(names: list[str]) -> pa.Table:
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    kept = json.dumps({"info": {"features": features}}).encode()
    table = pa.table({"text": ["a", "b", "c"], "label": [0, 1, 2]})
    return table.replace_schema_metadata({b"huggingface": kept})


def test_the_names_that_a_hub_data_set_keeps_of_its_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(a_hub_table(["Bearish", "Bullish", "Neutral"]), path)
    assert [str(t.label) for t in read_labelled_file(path)] == ["negative", "positive", "neutral"]
    pq.write_table(a_hub_table(["LABEL_0", "LABEL_1", "LABEL_2"]), path)
    with pytest.raises(InvalidInput, match="--labels"):
        read_labelled_file(path)
