"""Values in a text that belong to the name of a secret: `password=x`, `"token": "x"`, `<pin>1</pin>`.

A text is read once, whatever it holds: patterns repeat possessively or a bounded number of times,
and the search for the next name goes on where the last name or value has ended.
"""

import re

from .names import MAX_NAME, SecretNames, is_measure

Region = tuple[int, int]

PAIR_NAME = re.compile(r"[A-Za-z0-9_-]*+")
NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
CONTEXT = 60  # characters before a name that say what it stands in
BACKSLASHES = re.compile(r"\\*+")
QUOTE = re.compile(r"""\\*+["'`]""")
# What closes the name, as in `"name": `, `name]=` or `name%5D=`; then a sign; then a prefix, as in
# `b"value"`.
SEPARATOR = re.compile(
    r"""(?:\\*+["'`]|\]|%5[Dd])*+ \s{0,9}+ (?:[=:]{1,3}+>?+|->|%3[ADad]) \s{0,9}+"""
    r"""(?:[BFRUbfru]{1,2}+(?=["']))?+""",
    re.VERBOSE,
)
COMMA = re.compile(r"""\\*+["'],\s{0,9}+[Bb]?+(?=\\*+["'])""")  # of `('password', 'x')`
PAIR_START = re.compile(r"""[\[(]\s{0,9}[Bb]?\\*+["']\Z""")
BLANKS = re.compile(r"[ \t]{1,9}+")

IN_QUOTES = {
    '"': re.compile(r'(?:[^"\\]|\\.)*+', re.DOTALL),
    "'": re.compile(r"(?:[^'\\]|\\.)*+", re.DOTALL),
    "`": re.compile(r"[^`]*+"),
}
# A comma or a closing bracket ends a value only where something else could follow it.
BARE = re.compile(r"""(?:[^\s&;,<>"'`(){}\[\]]|[,;)}\]](?![\s"'`\\,;)}\]]|\Z))++""")
GROUPS = re.compile(r"(?:[ -][0-9]{2,4}(?![\w.:]))*+")  # of digits, as in `DE89 3704 0044`
BRACKET = re.compile(
    r"""[\[\](){}] | "(?:[^"\\]|\\.)*+(?:"|\Z) | '(?:[^'\\]|\\.)*+(?:'|\Z)""",
    re.DOTALL | re.VERBOSE,
)
OPENING = frozenset("([{")
HEADERS = ("authorization", "cookie")  # their values have several words
REST_OF_LINE = re.compile(r"""[^\r\n"'`\\]++""")
SCHEME = re.compile(
    r"(?:apikey|basic|bearer|digest|hmac|negotiate|token)\s{1,3}+[^\s,;\"'`<>\\]++", re.IGNORECASE
)
NUMBER = re.compile(r"[0-9.]++")
NOTHING = frozenset({"nil", "none", "null", "undefined"})

TAG_START = re.compile(r"<(?:[\w-]{1,40}:)?\Z")
TAG_END = re.compile(r"(?:\s[^<>]*+)?+>")
TAG_CLOSING = re.compile(r"</[\w:-]*+")
# `name="password"`, of which the value is somewhere else: in a form, in XML, in a list of pairs.
LABEL = re.compile(
    r"""(?:field|header|id|key|name|param)\\*+["']?\s{0,3}[=:]\s{0,3}\\*+["']\Z""", re.IGNORECASE
)
LABELLED = re.compile(r"""[^<>{}\r\n]{0,80}?\bvalue(?=\\*+["']?+\s{0,3}+[=:])""", re.IGNORECASE)
LINE_END = r"(?:\r?+\n|(?:\\r)?+\\n)"  # as such, or as in the literal of a bytes object
PART_HEADER = LINE_END + r"[\w-]{1,40}+:[^\r\n\\]{0,99}+"
PART_HEADERS = re.compile(
    r"""\\*+["'][^\r\n\\]{0,99}+(?:""" + PART_HEADER + r"){0,9}+" + LINE_END + LINE_END
)
PART_END = re.compile(rf"{LINE_END}--")


def redact_pairs(text: str, lowered: str, names: SecretNames) -> str:
    """Return a text with `***` in place of the values of secrets.

    Args:
        text: the text.
        lowered: the text in lower case, of the same length.
        names: the names of secrets.
    """
    parts: list[str] = []
    written = 0
    position = 0
    for start in names.find(lowered):
        if start < position:
            continue
        name_start, name_end = _find_name(text, start, position)
        position = max(name_end, start + 1)
        if not names.is_secret(text[name_start:name_end][-MAX_NAME:]):
            continue
        value = _find_value(text, name_start, name_end)
        if value is not None:
            parts.append(f"{text[written : value[0]]}***")
            written = value[1]
            position = max(position, written)
    return "".join(parts) + text[written:]


def _find_name(text: str, start: int, earliest: int) -> Region:
    """Return the name around a part of it."""
    before = text[max(earliest, start - MAX_NAME) : start]
    first = start - (len(before) - len(before.rstrip(NAME_CHARACTERS)))
    return first, _end(PAIR_NAME, text, start)


def _find_value(text: str, name_start: int, name_end: int) -> Region | None:
    """Return the value that belongs to a name; None if there is none."""
    before = text[max(0, name_start - CONTEXT) : name_start]
    name = text[name_start:name_end]
    if before.endswith(("<", ":")) and TAG_START.search(before):
        return _find_element(text, name_end, name)
    is_quoted = before.endswith(("'", '"'))
    if is_quoted and LABEL.search(before):
        region = _find_labelled(text, name_end)
        if region is not None:
            return region
    region = _find_separated(text, name_end, name)
    if region is not None:
        return region
    comma = COMMA.match(text, name_end)
    if is_quoted and comma and PAIR_START.search(before):
        return _find_quoted(text, comma.end())
    return _find_after_blanks(text, name_end, name)


def _find_element(text: str, name_end: int, name: str) -> Region | None:
    """Return the content of an element of XML."""
    tag_end = TAG_END.match(text, name_end)
    if tag_end is None:
        return _find_separated(text, name_end, name)
    for closing in TAG_CLOSING.finditer(text, tag_end.end()):
        if closing[0].endswith(name):
            return tag_end.end(), closing.start()
    return tag_end.end(), len(text)


def _find_labelled(text: str, name_end: int) -> Region | None:
    """Return the value of a part of a multipart form, or of `name="token" value="x"`."""
    headers = PART_HEADERS.match(text, name_end)
    if headers:
        start = headers.end()
        boundary = PART_END.search(text, start)
        return start, _start_or_end_of_text(boundary, text)
    label = LABELLED.match(text, name_end)
    if label is None:
        return None
    return _find_separated(text, label.end(), "")


def _find_separated(text: str, name_end: int, name: str) -> Region | None:
    """Return the value in `name=value`, `"name": "value"`, `name => value`."""
    separator = SEPARATOR.match(text, name_end)
    if separator is None:
        return None
    start = separator.end()
    quoted = _find_quoted(text, start)
    if quoted:
        return quoted
    if text[start : start + 1] in OPENING:
        return start, _find_closing_bracket(text, start)
    end = _end(BARE, text, start)
    if is_measure(name[-MAX_NAME:]) and NUMBER.fullmatch(text, start, end):
        return None
    if any(header in name.lower() for header in HEADERS):
        return start, _end(REST_OF_LINE, text, start)
    scheme = SCHEME.match(text, start)
    if scheme:
        return scheme.span()
    return _find_bare(text, start)


def _find_bare(text: str, start: int) -> Region | None:
    """Return what stands without quotes, up to what could follow it."""
    end = _end(BARE, text, start)
    value = text[start:end]
    if not value or value.lower() in NOTHING:
        return None
    if text[end : end + 1] in OPENING:  # `token=Token('x')`
        return start, _find_closing_bracket(text, end)
    return start, _end(GROUPS, text, end)


def _find_quoted(text: str, start: int) -> Region | None:
    """Return what stands in quotes, up to the end of the text if they are not closed."""
    opening = QUOTE.match(text, start)
    if opening is None:
        return None
    quote = opening[0]
    first = opening.end()
    if text.startswith(quote * 2, first):
        quote *= 3
        first += len(quote) - len(opening[0])
    if len(quote) == 1:
        return first, _end(IN_QUOTES[quote], text, first)
    end = text.find(quote, first)
    if end < 0:
        end = len(text)
    return first, end


def _find_closing_bracket(text: str, start: int) -> int:
    """Return where the bracket that opens at `start` has been closed."""
    depth = 0
    for found in BRACKET.finditer(text, start):
        character = found[0]
        if character in OPENING:
            depth += 1
        elif len(character) == 1:
            depth -= 1
        if depth == 0:
            return found.end()
    return len(text)


def _find_after_blanks(text: str, name_end: int, name: str) -> Region | None:
    """Return the value in `PASSWORD 'x'` of SQL, or in `--password x` of a command."""
    blanks = BLANKS.match(text, name_end)
    if blanks is None:
        return None
    quoted = _find_quoted(text, blanks.end())
    if quoted or not name.startswith("--"):
        return quoted
    return _find_bare(text, blanks.end())


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return where a pattern that starts here ends; `start` if it does not match."""
    match = pattern.match(text, start)
    if match is None:
        return start
    return match.end()


def _start_or_end_of_text(match: re.Match[str] | None, text: str) -> int:
    if match is None:
        return len(text)
    return match.start()
