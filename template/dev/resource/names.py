"""What a resource is called: in the singular and the plural, in code, in SQL and in sentences."""

import builtins
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path

MAX_LENGTH = 24  # so that names of constraints stay under PostgreSQL's 63 characters
NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
IRREGULAR = {
    "child": "children",
    "foot": "feet",
    "man": "men",
    "person": "people",
    "tooth": "teeth",
    "woman": "women",
}
# What generated code calls something else by.
TAKEN = {"changes", "connection", "logger", "new", "page", "response", "router", "row", "service"}
# The words that PostgreSQL takes as names only in quotes.
RESERVED_SQL = frozenset(
    Path(__file__).with_name("reserved_words.txt").read_text(encoding="ascii").split()
)


@dataclass(frozen=True)
class Names:
    """The names of a resource.

    Attributes:
        singular: such as `delivery_note`.
        plural: such as `delivery_notes`; the name of its modules, its table and its path.
    """

    singular: str
    plural: str

    @property
    def class_name(self) -> str:
        """The name of its class, such as `DeliveryNote`."""
        return "".join(word.capitalize() for word in self.singular.split("_"))

    @property
    def label(self) -> str:
        """What a sentence calls one of them."""
        return self.singular.replace("_", " ")

    @property
    def labels(self) -> str:
        """What a sentence calls several of them."""
        return self.plural.replace("_", " ")

    @property
    def article(self) -> str:
        """The word before its label: `a` or `an`."""
        sounds_like_you = self.singular.startswith(("eu", "uni", "use", "usa"))
        starts_with_vowel = self.singular[0] in "aeiou" and not sounds_like_you
        return "an" if starts_with_vowel else "a"


def parse_names(singular: str, plural: str = "") -> Names:
    """Return the names of a resource; ends the process if one of them cannot be used.

    Args:
        singular: such as `customer`.
        plural: where it does not follow the rules.
    """
    _check(singular, "customer")
    if hasattr(builtins, singular):
        sys.exit(f"{singular} is a name of Python's own: try name=own_{singular}")
    if not plural and _looks_plural(singular):
        shorter = singular.removesuffix("s")
        sys.exit(
            f"name={singular} looks like a plural: give the singular, name={shorter}, "
            f"or say what several are called, plural={singular}"
        )
    names = Names(singular, plural or pluralize(singular))
    _check(names.plural, "customers")
    if names.plural == names.singular:
        sys.exit(f"one {singular} and several need two names: add plural={singular}_list")
    if hasattr(builtins, names.class_name):
        sys.exit(f"{names.class_name} is a class of Python's: try name=own_{singular}")
    return names


def pluralize(singular: str) -> str:
    """Return the plural of an English word."""
    before, _, last = singular.rpartition("_")
    prefix = f"{before}_" if before else ""
    if last in IRREGULAR:
        return prefix + IRREGULAR[last]
    if re.search(r"[^aeiou]y$", last):
        return prefix + last[:-1] + "ies"
    if last.endswith(("s", "x", "z", "ch", "sh")):
        return f"{prefix}{last}es"
    return f"{prefix}{last}s"


def quote(name: str) -> str:
    """Return a name as SQL takes it."""
    return f'"{name}"' if name in RESERVED_SQL else name


def is_reserved_in_python(name: str) -> bool:
    """Return whether Python does not take a word as a name."""
    return keyword.iskeyword(name)


def _looks_plural(name: str) -> bool:
    return name.endswith("s") and not name.endswith(("ss", "us", "is"))


def check_form(name: str, example: str) -> None:
    """Exit with one line if no code or table can have a name.

    Args:
        name: of a resource or of a field.
        example: a name that is fine.
    """
    if not NAME_PATTERN.fullmatch(name):
        sys.exit(f"{name!r} is no name: use small letters, digits and _, such as {example}")
    if len(name) > MAX_LENGTH:
        sys.exit(f"{name} is too long: use at most {MAX_LENGTH} characters")


def _check(name: str, example: str) -> None:
    check_form(name, example)
    if len(name) == 1:
        sys.exit(f"{name} is too short: use a word, such as {example}")
    if is_reserved_in_python(name):
        sys.exit(f"{name} is a word of Python's: try own_{name}")
    if name in TAKEN:
        sys.exit(f"{name} is used for something else in each resource: try own_{name}")
    if name.startswith("test"):
        sys.exit(f"{name}: pytest takes what starts with test for a test: try own_{name}")
