"""The SQLite file under many writers, kill -9, other versions and broken disks."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from finsight.adapters.news import sqlite_schema
from finsight.adapters.news.sqlite_articles import SqliteArticleStore
from finsight.domain.errors import StoreUnavailable
from finsight.ports.news import ArticleQuery
from tests.builders import a_score, an_article

ROOT = Path(__file__).parents[2]
WRITER = """
    import asyncio, sys
    from pathlib import Path
    from finsight.adapters.news.sqlite_articles import SqliteArticleStore
    from tests.builders import a_score, an_article

    path, source, first, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

    async def write():
        store = SqliteArticleStore(path)
        new = scored = 0
        for number in range(first, stop):
            article = an_article(
                url=f"https://news.example/{number}", title=f"Number{number}", source=source
            )
            new += len(await store.add([article]))
            scored += len(await store.save_scores([a_score(article)]))
            await store.mark_announced([article.id])
            print(number, flush=True)
        print("done", new, scored, flush=True)

    asyncio.run(write())
"""


def start_writer(path, source, first, stop):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), source, str(first), str(stop)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "articles.sqlite"


@pytest.fixture
def store(path):
    opened = SqliteArticleStore(path)
    yield opened
    opened.close()


async def all_articles(store):
    return (await store.search(ArticleQuery(limit=1000))).items


async def test_two_processes_that_write_the_same_articles_store_each_once(path, store):
    writers = [start_writer(path, source, 0, 150) for source in ("one", "two")]
    ends = [(await asyncio.to_thread(writer.communicate))[0].split()[-3:] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert sum(int(end[1]) for end in ends) == 150
    assert sum(int(end[2]) for end in ends) == 150
    items = await all_articles(store)
    assert len({item.article.id for item in items}) == len(items) == 150
    assert all({item.article.source, *item.article.also_in} == {"one", "two"} for item in items)
    assert all(item.score is not None for item in items)
    assert await store.unannounced(10) == []


async def test_what_was_stored_before_a_kill_is_there_whole(path, store):
    writer = start_writer(path, "one", 0, 100_000)
    last = 0
    for line in writer.stdout:
        last = int(line)
        if last >= 40:
            break
    writer.send_signal(signal.SIGKILL)
    writer.stdout.close()
    writer.wait()
    items = await all_articles(store)
    numbers = {int(item.article.title.removeprefix("Number")) for item in items}
    assert numbers >= set(range(last + 1))
    assert len(items) <= last + 200
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM article_words").fetchone() == (len(items),)
    db.close()
    assert len(await store.add([an_article(url="https://news.example/new")])) == 1


async def test_many_threads_share_one_store(store):
    articles = [an_article(url=f"https://news.example/{n}", title=f"N{n}") for n in range(40)]
    added = await asyncio.gather(*(store.add([article]) for article in articles * 2))
    assert sum(map(len, added)) == 40
    pages, saved = await asyncio.gather(
        asyncio.gather(*(all_articles(store) for _ in range(10))),
        asyncio.gather(*(store.save_scores([a_score(article)]) for article in articles * 2)),
    )
    assert {len(page) for page in pages} == {40}
    assert sum(map(len, saved)) == 40


async def test_a_file_of_an_older_version_is_brought_up_to_date(path, store, monkeypatch):
    article = an_article()
    await store.add([article])
    store.close()
    newer = (*sqlite_schema.MIGRATIONS, "ALTER TABLE articles ADD COLUMN language TEXT;")
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", newer)
    assert (await store.get(article.id)).article == article
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(newer),)
        assert db.execute("SELECT language FROM articles").fetchall() == [(None,)]
    db.close()


async def test_scores_of_the_first_version_are_not_announced_again(path, store):
    article, later = an_article(), an_article(url="https://news.example/later")
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        for statement in sqlite_schema.MIGRATIONS[0].split(";"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.execute(
            "INSERT INTO articles VALUES (1, ?, '', '', '', '', '', '', 0, 0, '[]', 1, 1)",
            (article.id,),
        )
        db.execute("INSERT INTO scores VALUES (1, 0.1, 0.2, 0.7, 'm', '1', 1, 0, 0)")
    db.close()
    await store.add([later])
    await store.save_scores([a_score(later)])
    assert [one.article for one in await store.unannounced_scores(10)] == [later]
    assert (await store.get(article.id)).score is not None


async def test_a_step_that_fails_leaves_the_file_as_it_was(path, store, monkeypatch):
    article = an_article()
    await store.add([article])
    store.close()
    with monkeypatch.context() as patched:
        broken = (*sqlite_schema.MIGRATIONS, "CREATE TABLE extra (x); CREATE TABLE articles (x);")
        patched.setattr(sqlite_schema, "MIGRATIONS", broken)
        with pytest.raises(StoreUnavailable):
            await store.get(article.id)
    assert (await store.get(article.id)).article == article
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchall() == []
    db.close()


async def test_a_file_of_a_newer_version_is_left_alone(path, store):
    await store.add([an_article()])
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnavailable, match="newer FinSight"):
        await store.unscored(1)


async def test_a_file_that_is_no_database_is_unavailable(path, store):
    path.parent.mkdir()
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreUnavailable, match=r"articles\.sqlite"):
        await store.add([an_article()])


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = SqliteArticleStore(tmp_path / "file" / "articles.sqlite")
    with pytest.raises(StoreUnavailable):
        await store.sources()


async def test_a_full_disk_is_unavailable_and_stores_nothing(path, store):
    await store.add([an_article()])
    pages = sqlite3.connect(path)
    size = pages.execute("PRAGMA page_count").fetchone()[0]
    pages.close()
    # SQLite's own limit on a file answers as a full disk does.
    with store._file.writing() as db:
        db.execute(f"PRAGMA max_page_count = {size}")
    long = "word " * 100_000
    with pytest.raises(StoreUnavailable, match="full"):
        await store.add([an_article(url="https://news.example/long", summary=long)])
    assert len(await all_articles(store)) == 1
