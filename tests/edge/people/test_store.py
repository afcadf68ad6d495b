"""People, one-time codes, bearer tokens and wrong tries, in a real people.db."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.people import PeopleError, WaitError, WrongError
from edge.people.passwords import check_secret, code_digest, folded, hashed, matches, new_code, person_name
from edge.people.roles import GUEST, Role, User, Via
from edge.people.store import People
from edge.people.throttle import ADDRESS_TRIES, LONGEST_WAIT_S, NAME_TRIES, network, wait_s

PASSWORD, PIN = "correct horse", "271828"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    """A station with the engineer Erna and the operator Anna."""
    people = People(tmp_path)
    people.join(people.add("Erna", Role.ENGINEER), "Erna", PASSWORD, "")
    people.join(people.add("Anna", Role.OPERATOR), "Anna", PIN, "")
    yield people
    people.close()


def test_nobody_is_set_up_and_no_file_is_made_before_the_first_person(tmp_path: Path) -> None:
    people = People(tmp_path)
    assert not people.exist()
    assert people.first_code() is not None
    assert list(tmp_path.iterdir()) == []


def test_the_code_of_the_log_makes_one_engineer_and_only_the_first(tmp_path: Path) -> None:
    people = People(tmp_path)
    code = people.first_code()
    assert code is not None
    with pytest.raises(WrongError):
        people.join("AAAA-BBBB-CCCC", "Erna", PASSWORD, "")
    assert people.join(code.lower().replace("-", " "), "Erna", PASSWORD, "") == User("Erna", Role.ENGINEER, Via.PAGE)
    with pytest.raises(WrongError):
        people.join(code, "Eve", PASSWORD, "")
    assert people.first_code() is None
    people.close()


def test_a_person_without_a_pin_yet_cannot_sign_in_with_any(people: People) -> None:
    people.add("Bert", Role.OPERATOR)
    for secret in ("", "0", PIN):
        with pytest.raises(WrongError):
            people.sign_in("Bert", secret, "")


def test_a_code_is_for_one_name_works_once_and_a_new_one_replaces_it(people: People) -> None:
    old, code = people.add("Bert", Role.OPERATOR), people.renew_code("Bert")
    for wrong, name in ((old, "Bert"), (code, "Anna"), (code, "Nobody")):
        with pytest.raises(WrongError):
            people.join(wrong, name, "314159", "")
    people.join(code, "bert", "314159", "")
    with pytest.raises(WrongError):
        people.join(code, "Bert", "161803", "")
    assert people.sign_in("BERT", "314159", "").role is Role.OPERATOR


def test_the_file_holds_no_pin_code_or_token_and_is_for_its_user_only(people: People, tmp_path: Path) -> None:
    code, token = people.add("Bert", Role.VIEWER), people.add_token("dashboard", Role.VIEWER)
    people.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (PIN, PASSWORD, code, code.replace("-", ""), token):
        assert secret.encode() not in kept
    assert b"$argon2id$" in kept
    assert (tmp_path / "people.db").stat().st_mode & 0o077 == 0


def test_the_last_engineer_cannot_be_removed(people: People) -> None:
    with pytest.raises(PeopleError, match="last engineer"):
        people.remove("Erna")
    people.add("Eva", Role.ENGINEER)
    people.remove("Erna")
    assert [one.name for one in people.accounts()] == ["Anna", "Eva"]


def test_the_first_person_is_an_engineer(tmp_path: Path) -> None:
    people = People(tmp_path)
    with pytest.raises(PeopleError, match="engineer"):
        people.add("Anna", Role.OPERATOR)
    assert not people.exist()
    people.close()


def test_a_token_has_its_role_until_it_is_revoked(people: People) -> None:
    token = people.add_token("dashboard", Role.VIEWER)
    assert people.program(token) == User("dashboard", Role.VIEWER, Via.TOKEN)
    assert people.program(token[:-1]) is None
    assert people.program("") is None
    people.revoke("dashboard")
    assert people.program(token) is None


def test_wrong_tries_make_the_right_pin_wait_and_a_restart_forgets_nothing(people: People, tmp_path: Path) -> None:
    for number in range(NAME_TRIES):
        with pytest.raises(WrongError):
            people.sign_in("Anna", "000001", f"192.0.2.{number}")
    again = People(tmp_path)
    with pytest.raises(WaitError):
        again.sign_in("ANNA", PIN, "198.51.100.1")
    assert again.sign_in("Erna", PASSWORD, "198.51.100.1").name == "Erna"
    again.close()


def test_wrong_tries_from_an_address_count_for_every_name(people: People) -> None:
    for number in range(ADDRESS_TRIES):
        with pytest.raises(WrongError):
            people.sign_in(f"guess {number}", "000001", "192.0.2.9")
    with pytest.raises(WaitError):
        people.sign_in("Anna", PIN, "192.0.2.9")
    assert people.sign_in("Anna", PIN, "192.0.2.10").name == "Anna"


def test_tries_at_once_are_all_counted(people: People) -> None:
    found: list[str] = []

    def guess(number: int) -> None:
        try:
            people.sign_in("Anna", f"00000{number}", f"192.0.2.{number}")
        except PeopleError as error:
            found.append(type(error).__name__)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(NAME_TRIES + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["WaitError"] * 3 + ["WrongError"] * NAME_TRIES


@given(st.integers(0, 10**6), st.floats(-1e9, 1e9))
def test_no_clock_makes_anybody_wait_longer_than_a_quarter_of_an_hour(count: int, age_s: float) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    waits = wait_s(count, NAME_TRIES, now, now - timedelta(seconds=age_s))
    assert waits <= LONGEST_WAIT_S
    assert count >= NAME_TRIES or waits == 0


def test_addresses_of_one_computer_count_as_one() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:2") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize(
    "pin",
    ["", "12345", "1" * 13, "12345a", "111111", "123456", "987654", "\uff11\uff12\uff13\uff14\uff15\uff17", "890123"],
)
def test_a_pin_that_is_guessed_at_once_is_refused(pin: str) -> None:
    with pytest.raises(PeopleError):
        check_secret(Role.OPERATOR, "Anna", pin)


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaa", "1234509876", "erna maria k", "x" * 129])
def test_a_password_that_is_guessed_at_once_is_refused(password: str) -> None:
    with pytest.raises(PeopleError):
        check_secret(Role.ENGINEER, "Erna Maria K", password)


@given(st.text(max_size=60))
def test_any_text_is_a_name_that_is_kept_as_it_is_or_refused(text: str) -> None:
    try:
        name = person_name(text)
    except PeopleError:
        return
    assert person_name(name) == name
    assert folded(name) == folded(text)
    assert name.isprintable()


def test_a_secret_with_any_letters_matches_itself_however_an_accent_is_written() -> None:
    kept = hashed("cafe\u0301 \U0001f600 \udcff")
    assert matches(kept, "caf\u00e9 \U0001f600 \udcff")
    assert not matches(kept, "cafe")
    assert not matches("", "")


@given(st.text(max_size=30))
def test_a_code_is_read_without_regard_to_capitals_spaces_and_dashes(noise: str) -> None:
    code = new_code()
    assert code_digest(f" {code.lower()} -") == code_digest(code)
    assert code_digest(noise) != code_digest(code)


def test_a_role_covers_those_before_it_and_a_guest_none() -> None:
    assert [Role.OPERATOR.covers(role) for role in Role] == [True, True, False]
    assert not any(GUEST.may(role) for role in Role)
    assert GUEST.may(None)
