"""What leaves the service holds no secret, whatever form it has, and stays within its bounds."""

import pytest

from src.airtight.logging.redaction import MAX_ITEMS, Redactor, describe
from src.airtight.logging.redaction.cards import is_card_number

CARD = "4111 1111 1111 1111"  # a number for tests, with a check digit that is right


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    """A redactor with the names that everybody expects."""
    return Redactor()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter22", "password=***"),
        ("password: hunter22, name: ann", "password: ***, name: ann"),
        ('{"password": "hunter22", "name": "ann"}', '{"password": "***", "name": "ann"}'),
        (r'"{\"token\": \"hunter22\"}"', r'"{\"token\": \"***\"}"'),
        ("{'password': 'hun\\'ter22'}", "{'password': '***'}"),
        ("[('password', 'hunter22')]", "[('password', '***')]"),
        ("user%5Bpassword%5D=hunter22&x=1", "user%5Bpassword%5D=***&x=1"),
        ("api_key => hunter22", "api_key => ***"),
        ("secret=Secret('hunter22')", "secret=***"),
        ("token={'a': ('hunter22', 1)}", "token=***"),
        ("--password hunter22 --verbose", "--password *** --verbose"),
        ("ALTER ROLE app PASSWORD 'hunter22'", "ALTER ROLE app PASSWORD '***'"),
        ("<password>hunter22</password>", "<password>***</password>"),
        ('<input name="token" value="hunter22">', '<input name="token" value="***">'),
        ("iban: DE89 3704 0044 0532 0130 00", "iban: ***"),
        ("authorization: Digest a=1, b=2", "authorization: ***"),
        ("sent Bearer abc.def", "sent Bearer ***"),
        ("amqp://app:hunter22@db/app", "amqp://app:***@db/app"),
        ("amqp://app:hun@ter/22@db/app", "amqp://app:***@db/app"),
        ("jwt eyJhbGciOi.eyJzdWIi.c2ln", "jwt ***"),
        (f"card {CARD} was refused", "card *** was refused"),
        ("SESSION\u0130 password=hunter22", "SESSION\u0130 password=***"),
    ],
)
def test_secret_in_a_text_is_hidden(redactor: Redactor, text: str, expected: str) -> None:
    """The value of a secret is replaced, and what stands around it is left."""
    assert redactor.redact_text(text, 1_000) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Bearer token is missing",
        "session_count=12",
        "password=None",
        "InvalidTokenError: expired",
        "the author passed the compass",
        "http://127.0.0.1:8000/path",
        "trace 0af7651916cd43dd8448eb211c80319c",
        "0.4111111111111111",
        "4111 1111 1111 1112",  # the check digit is wrong
    ],
)
def test_what_is_no_secret_is_left(redactor: Redactor, text: str) -> None:
    """Words and numbers that only look like secrets can be read."""
    assert redactor.redact_text(text, 1_000) == text


@pytest.mark.parametrize("position", range(80, 101))
def test_secret_across_the_cut_is_hidden(redactor: Redactor, position: int) -> None:
    """A text is cut, but a password that stands where it is cut is not shown in part."""
    text = "x" * position + " amqp://app:hunter22@db" + "y" * 1_000
    cut = redactor.redact_text(text, 110)
    assert "hunter" not in cut
    assert len(cut) < 130


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "x", "age": 3}, {"password": "***", "age": 3}),
        ({"a": [{"token": "x"}]}, {"a": [{"token": "***"}]}),
        ({"name": "token", "value": "x"}, {"name": "token", "value": "***"}),
        ([("authorization", "x"), ("cookie", b"y")], [["authorization", "***"], ["cookie", "***"]]),
        ({"session_count": 12, "password": None}, {"session_count": 12, "password": None}),
        (b"password=hunter22", "b'password=***'"),
        (4111111111111111, "***"),
        (10**30, "<an integer of 100 bits>"),
        ({b"pin": "1234"}, {"pin": "***"}),
    ],
)
def test_secret_in_a_value_is_hidden(redactor: Redactor, value: object, expected: object) -> None:
    """Fields, pairs and labelled values are found in any nesting."""
    assert redactor.redact(value, 1_000) == expected


def test_value_is_bounded(redactor: Redactor) -> None:
    """However long, wide or deep a value is, what is logged of it is short."""
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    wide = {str(number): "x" * 10_000 for number in range(10_000)}
    redacted = redactor.redact({"deep": deep, "wide": wide}, 1_000)
    assert len(redacted["wide"]) <= MAX_ITEMS
    assert len(str(redacted)) < 20_000


def test_value_that_cannot_be_described_has_its_class() -> None:
    """A value whose `__str__` raises is named by its class."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert describe(Broken()).endswith("Broken>")
    assert Redactor().redact({"a": Broken()}, 100)["a"].endswith("Broken>")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (4111111111111111, True),
        (5555555555554444, True),
        (2221000000000009, True),
        (4111111111111112, False),
        (1111111111111117, False),
        (411, False),
    ],
)
def test_card_number_is_known_by_network_and_check_digit(number: int, expected: bool) -> None:
    """The first digits are those of a network, and the last one is right by Luhn."""
    assert is_card_number(number) is expected


def test_names_of_the_team_are_secret() -> None:
    """A name that was added covers its spellings, as a sequence of whole words."""
    redactor = Redactor(["customer_number"])
    fields = {"customerNumber": "1", "main-customer-number": "2", "customer": "3"}
    assert redactor.redact(fields, 100) == {
        "customerNumber": "***",
        "main-customer-number": "***",
        "customer": "3",
    }
