"""Jobs in a database: their turn, their leases, their ends."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from overcrank.errors import RequestError
from overcrank.serve import sessions
from overcrank.serve import store as stored
from overcrank.serve.sessions import Sessions
from overcrank.serve.store import Full, Store
from overcrank.serve.tables import Job, Live, Status, Table


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield opened
    opened.close()


def job(name: str, **more: object) -> Job:
    fields = {"id": name, "created_at": datetime.now(UTC), "request": {"prompt": name}, **more}
    return Job(**fields)  # type: ignore[arg-type]


def add(store: Store, *names: str, **more: object) -> None:
    for name in names:
        store.add(job(name, **more), most=100)


def test_jobs_come_in_the_order_of_priority_and_then_of_age(store: Store) -> None:
    add(store, "a", "b")
    add(store, "urgent", priority=5)
    add(store, "idle", priority=-5)
    waiting = store.get("b")
    assert waiting is not None
    assert store.place(waiting) == 2
    names = []
    while (next_one := store.lease("w")) is not None:
        names.append(next_one.id)
    assert names == ["urgent", "a", "b", "idle"]


def test_a_job_that_is_held_is_given_to_nobody_else(store: Store) -> None:
    add(store, "a")
    held = store.lease("one")
    assert held is not None
    assert (held.status, held.worker, held.attempts) == (Status.IN_PROGRESS, "one", 1)
    assert store.lease("two") is None


def test_what_a_worker_held_that_is_gone_is_given_to_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "LEASE", timedelta(seconds=-1))  # every lease has run out
    add(store, "a")
    assert store.lease("one") is not None
    taken = store.lease("two")
    assert taken is not None
    assert (taken.worker, taken.attempts) == ("two", 2)
    assert not store.keep("a", "one", done=0.5)
    assert not store.end("a", "one", Status.COMPLETED)
    assert store.keep("a", "two", done=0.5)
    assert store.end("a", "two", Status.COMPLETED)


def test_a_job_that_workers_die_of_fails_in_the_end(store: Store) -> None:
    add(store, "a", "b")
    for _ in range(stored.MOST_ATTEMPTS):
        assert store.lease("w") is not None
        store.give_back(lambda worker: worker == "w")
    assert store.lease("w") is None  # which ends it
    failed = store.get("a")
    assert failed is not None
    assert failed.status == Status.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "gave_up"
    after = store.lease("w")
    assert after is not None
    assert after.id == "b"


def test_progress_never_falls(store: Store) -> None:
    add(store, "a")
    store.lease("w")
    told = []
    for done in (0.2, 0.1, 0.6):
        store.keep("a", "w", done=done, stage="denoising", eta=1.0)
        now = store.get("a")
        assert now is not None
        told.append(now.done)
    assert told == [0.2, 0.2, 0.6]


def test_a_job_that_waits_is_cancelled_at_once_and_one_that_runs_by_its_worker(
    store: Store,
) -> None:
    add(store, "a", "b")
    store.lease("w")
    assert store.cancel("nobody") is None
    waits = store.cancel("b")
    assert waits is not None
    assert waits.status == Status.CANCELLED
    runs = store.cancel("a")
    assert runs is not None
    assert runs.status == Status.IN_PROGRESS
    assert not store.keep("a", "w", done=0.5)
    assert store.end("a", "w", Status.CANCELLED)
    again = store.cancel("a")
    assert again is not None
    assert again.status == Status.CANCELLED


def test_what_has_not_begun_by_its_deadline_is_not_begun(store: Store) -> None:
    add(store, "late", deadline=datetime.now(UTC) - timedelta(seconds=1))
    assert store.lease("w") is None
    late = store.get("late")
    assert late is not None
    assert late.error is not None
    assert late.error["code"] == "deadline"


def test_a_full_queue_takes_nothing_and_a_known_key_is_found_all_the_same(store: Store) -> None:
    store.add(job("a", key="k"), most=1)
    with pytest.raises(Full):
        store.add(job("b"), most=1)
    assert store.add(job("c", key="k"), most=1).id == "a"
    assert store.get("c") is None


def test_an_owner_has_a_share_of_what_waits_and_runs(store: Store) -> None:
    store.add(job("a", owner="anna"), most=9, share=2)
    store.lease("w")
    store.add(job("b", owner="anna"), most=9, share=2)
    with pytest.raises(Full) as full:
        store.add(job("c", owner="anna"), most=9, share=2)
    assert full.value.own
    store.add(job("d", owner="bert"), most=9, share=2)
    store.cancel("b")
    store.add(job("c", owner="anna"), most=9, share=2)


@pytest.mark.parametrize("password", ["secret", "a/secret:@b"])
def test_passwords_are_not_told(password: str) -> None:
    with pytest.raises(RequestError) as told:
        Store(f"nothing+known://anna:{password}@localhost/jobs")
    assert "secret" not in str(told.value)
    assert "nothing+known://anna:***@localhost/jobs" in str(told.value)


def test_pages_follow_each_other(store: Store) -> None:
    now = datetime.now(UTC)
    for number in range(5):
        store.add(job(str(number), created_at=now + timedelta(seconds=number)), most=100)
    assert [each.id for each in store.page("", None, 2)] == ["4", "3"]
    assert [each.id for each in store.page("", "3", 2)] == ["2", "1"]
    assert [each.id for each in store.page("", "1", 9, newest_first=False)] == ["2", "3", "4"]


def test_only_what_has_ended_is_forgotten(store: Store) -> None:
    add(store, "a")
    assert not store.delete("a")
    store.cancel("a")
    assert store.delete("a")
    assert store.get("a") is None
    assert not store.delete("a")


def test_many_workers_share_the_jobs_without_two_at_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    add(Store(url), *map(str, range(60)))

    def work(number: int) -> list[str]:
        own, names = Store(url), []
        while (mine := own.lease(f"w{number}")) is not None:
            names.append(mine.id)
            assert own.keep(mine.id, f"w{number}", done=0.5)
            assert own.end(mine.id, f"w{number}", Status.COMPLETED)
        own.close()
        return names

    with ThreadPoolExecutor(8) as pool:
        taken = Counter(name for names in pool.map(work, range(8)) for name in names)
    assert taken == Counter(map(str, range(60)))


def test_the_tables_are_those_of_the_migrations(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import create_engine

    Store(f"sqlite:///{tmp_path / 'jobs.sqlite'}").close()
    with create_engine(f"sqlite:///{tmp_path / 'jobs.sqlite'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    Store(url).close()
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RequestError, match="newer overcrank, got version 9999"):
        Store(url)


def test_jobs_of_the_first_version_say_that_they_show_no_pictures(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    first = Store(url)
    add(first, "a")
    first.close()
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    second = Store(url)
    found = second.get("a")
    assert found is not None
    assert found.request == {"prompt": "a", "conditions": []}
    second.close()


@pytest.mark.parametrize("url", ["nonsense", "oracle+none://x", "sqlite:////no/such/folder/jobs"])
def test_a_database_that_cannot_be_opened_is_refused_in_words(url: str) -> None:
    with pytest.raises(RequestError, match="try sqlite|leave --database out"):
        Store(url)


def test_a_session_whose_worker_has_died_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LEASE", timedelta(seconds=-1))
    now = datetime.now(UTC)
    both = Sessions(store)
    both.add(Live(id="l", created_at=now, seen_at=now, request={}, prompt="a", seed=1))
    assert both.lease("one") is not None
    assert both.lease("two") is None
    live = both.get("l")
    assert live is not None
    assert live.ended
    assert "begin another" in str(live.error)


def test_jobs_outlast_the_process_that_took_them_in(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    first = Store(url)
    add(first, "a")
    first.close()
    second = Store(url)
    found = second.get("a")
    assert found is not None
    assert found.request == {"prompt": "a"}
    assert found.created_at.tzinfo is UTC
    second.close()
