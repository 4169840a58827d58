"""Card numbers: 13 to 19 digits of a card network whose last one is the check digit by Luhn."""

import re
from collections.abc import Iterator

# On cards the first group has four digits, and none has less than three.
DIGITS = re.compile(r"[0-9]{4,}+(?:[ -][0-9]{3,}+)*+")
GROUP = re.compile(r"[0-9]++")
SHORTEST = 13
LONGEST = 19
MASTERCARD_2 = range(2221, 2721)  # its newer numbers; the others have 5 as their first digit
DOUBLED = str.maketrans("0123456789", "0246813579")  # the sum of the digits of twice a digit
HEX = "0123456789abcdefABCDEF"
LONG_ID = 24  # hexadecimal digits; trace ids and UUIDs have 32

Region = tuple[int, int]


def redact_card_numbers(text: str) -> str:
    """Return a text with `***` in place of card numbers, also of those in groups of digits."""
    return DIGITS.sub(_redact_run, text)


def is_card_number(number: int) -> bool:
    """Return whether a number is the number of a card."""
    if not 10 ** (SHORTEST - 1) <= number < 10**LONGEST:
        return False
    return _is_card_number(str(number))


def _is_card_number(digits: str) -> bool:
    if digits[0] not in "3456" and int(digits[:4]) not in MASTERCARD_2:
        return False
    doubled = digits[-2::-2].translate(DOUBLED)
    return sum(map(int, digits[-1::-2] + doubled)) % 10 == 0


def _redact_run(run: re.Match[str]) -> str:
    text = run[0]
    if len(text) < SHORTEST or _is_part_of_id(run):
        return text
    groups = [group.span() for group in GROUP.finditer(text)]
    if _is_fraction(run):
        del groups[0]
    parts: list[str] = []
    position = 0
    for start, end in _find(text, groups):
        parts.append(f"{text[position:start]}***")
        position = end
    return "".join(parts) + text[position:]


def _find(text: str, groups: list[Region]) -> Iterator[Region]:
    """Yield where card numbers start and end: one group of digits, or several side by side."""
    number = 0
    while number < len(groups):
        last = _last_group(text, groups, number)
        if last < 0:
            number += 1
            continue
        yield groups[number][0], groups[last][1]
        number = last + 1


def _last_group(text: str, groups: list[Region], first: int) -> int:
    """Return the last group of the card number that starts with the group `first`; -1 if none."""
    digits = ""
    for number in range(first, len(groups)):
        start, end = groups[number]
        digits += text[start : min(end, start + LONGEST + 1)]
        if len(digits) > LONGEST:
            return -1
        if len(digits) >= SHORTEST and _is_card_number(digits):
            return number
    return -1


def _is_part_of_id(run: re.Match[str]) -> bool:
    """Return whether a run of digits is a part of a long hexadecimal number."""
    before = run.string[max(0, run.start() - LONG_ID) : run.start()]
    after = run.string[run.end() : run.end() + LONG_ID]
    around = len(before) - len(before.rstrip(HEX)) + len(after) - len(after.lstrip(HEX))
    return around > 0 and around + len(run[0]) >= LONG_ID


def _is_fraction(run: re.Match[str]) -> bool:
    """Return whether a run of digits follows a decimal point."""
    before = run.string[max(0, run.start() - 2) : run.start()]
    return len(before) == 2 and before[1] == "." and before[0].isdigit()
