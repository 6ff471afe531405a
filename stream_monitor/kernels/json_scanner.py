"""JSON predictions scanned into flat arrays by compiled code, many events a call and no Python object a value.

Only the fast way: an event that it does not know in every respect (a new field, an escape, nesting, a number beyond
2^53, anything malformed) is reported as not scanned and decoded by the generic way instead, which is the oracle: a
property test holds the columns of both equal. So the scanner may refuse whatever is rare, but must never accept what
the generic way rejects or reads otherwise.

Numbers are read by the method of Clinger (1990) where a double holds them exactly, else by that of Lemire, "Number
parsing at a gigabyte per second" (2021): the nearest double, ties to even, as every correct parser.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from stream_monitor.events.decode import MAX_EVENT_BYTES, MAX_FEATURES
from stream_monitor.kernels.numba_backend import compiled, inlined, load8, trailing_zeros

FLOAT, INTEGER, TEXT, FALSE, TRUE, ARRAY = 1, 2, 3, 4, 5, 6
"""Kinds of a token. Null has none: it is the same as no value."""

ID, MODEL, VERSION, TS, PREDICTION, PROBABILITIES, LATENCY, FEATURES, TAGS = range(9)
FIELDS = ("id", "model", "version", "ts", "prediction", "probabilities", "latency_ms", "features", "tags")
TOP, FEATURE, TAG = 0, 1, 2
"""Where a key stands: the event itself, its features, its tags."""

MAX_ID, MAX_NAME, MAX_STRING = 256, 128, 4096
"""Bytes of an id, of a model or version, of any other text that the scanner reads."""
PROBES = 64
"""Places of a hash table that are looked at before it gives up: nobody makes it slow by choosing the names."""

PADDING = 8
"""Bytes behind every array that is read in words."""

_NO, _FULL = -1, -2
_EXACT = 1 << 53
_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _ESCAPES, _SPACES = _ONES * np.uint64(34), _ONES * np.uint64(92), _ONES * np.uint64(32)
_ZEROS, _NINES = _ONES * np.uint64(48), _ONES * np.uint64(0x76)
_POWERS = np.array([10**e for e in range(9)], np.uint64)
_TENS = np.array([10.0**e for e in range(23)])
_LEAST_POWER, _MOST_POWER = -100, 100


def _powers_of_five() -> Any:
    """5^q for each exponent as a normalised 128-bit fraction (high, low), rounded as Lemire's proof wants it."""
    table = np.empty((_MOST_POWER - _LEAST_POWER + 1, 2), np.uint64)
    for q in range(_LEAST_POWER, _MOST_POWER + 1):
        power = 5 ** abs(q)
        if q >= 0:
            value = power << 128 >> power.bit_length()
        else:
            bits = power.bit_length() + 127 if q >= -27 else 2 * power.bit_length() + 128
            value = (1 << bits) // power + 1
            value >>= max(0, value.bit_length() - 128)
        table[q - _LEAST_POWER] = value >> 64, value & (2**64 - 1)
    return table


_FIVES = _powers_of_five()


class Keys(NamedTuple):
    """Known keys, found by their bytes; written by Python, read by the scanner."""

    slots: np.ndarray
    start: np.ndarray
    length: np.ndarray
    place: np.ndarray
    arena: np.ndarray
    follower: np.ndarray
    """The key that came after this one last time: it is tried first."""
    seen: np.ndarray
    """Number of the last event that had the key: one that comes twice is refused."""


class Strings(NamedTuple):
    """Texts of each key as codes 0, 1 … in order of first sight; filled by the scanner."""

    slots: np.ndarray
    key: np.ndarray
    start: np.ndarray
    length: np.ndarray
    code: np.ndarray
    chars: np.ndarray
    arena: np.ndarray
    codes: np.ndarray
    """By key: how many codes it has."""
    used: np.ndarray
    """[strings, bytes of the arena, events so far]."""


class Tape(NamedTuple):
    """What was scanned: rows (events), and tokens (values) of the rows one after the other."""

    fast: np.ndarray
    ts: np.ndarray
    model: np.ndarray
    version: np.ndarray
    id_start: np.ndarray
    id_length: np.ndarray
    first: np.ndarray
    """First token of each row; one more than there are rows."""
    key: np.ndarray
    kind: np.ndarray
    value: np.ndarray
    """The number, the code of the text, or of an array its length (of probabilities the largest)."""


@inlined
def tail(word: Any, n: int) -> Any:
    """The first n bytes of a word, 0 < n < 8, alone."""
    return word << np.uint64(64 - 8 * n)


@inlined
def hash_bytes(buffer: Any, start: int, end: int, seed: int) -> Any:
    """A hash of bytes; `seed` tells apart the keys of different places."""
    h = np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(seed)
    while start + 8 <= end:
        h = (h ^ load8(buffer, start)) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
        start += 8
    if start < end:
        h = (h ^ tail(load8(buffer, start), end - start)) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(end - start)) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(32))


@inlined
def same(a: Any, at: int, b: Any, bt: int, n: int) -> bool:
    """Whether n bytes are equal."""
    i = 0
    while i + 8 <= n:
        if load8(a, at + i) != load8(b, bt + i):
            return False
        i += 8
    return i == n or tail(load8(a, at + i) ^ load8(b, bt + i), n - i) == np.uint64(0)


@inlined
def skip_space(buffer: Any, at: int, end: int) -> int:
    """The first byte that is no white space."""
    while at < end and (buffer[at] == 32 or buffer[at] == 10 or buffer[at] == 13 or buffer[at] == 9):
        at += 1
    return at


@inlined
def zero_bytes(word: Any) -> Any:
    """The high bit of each byte that is zero; above the first one there may be false ones."""
    return (word - _ONES) & ~word & _HIGHS


@inlined
def end_of_string(buffer: Any, at: int, end: int) -> int:
    """Where the string that begins at `at` has its closing quote; -1 for one with escapes or control characters."""
    while at < end:
        word = load8(buffer, at)
        quotes, escapes = zero_bytes(word ^ _QUOTES), zero_bytes(word ^ _ESCAPES)
        hits = quotes | escapes | ((word - _SPACES) & ~word & _HIGHS)
        if hits:
            at += trailing_zeros(hits) >> 3
            return at if at < end and buffer[at] == 34 else _NO
        at += 8
    return _NO


@compiled
def count_characters(buffer: Any, at: int, end: int) -> int:
    """Characters of UTF-8 text, -1 when it is malformed (overlong, a surrogate, beyond U+10FFFF, cut)."""
    count = 0
    while at < end:
        c = buffer[at]
        count += 1
        if c < 0x80:
            at += 1
            continue
        if 0xC2 <= c <= 0xDF:
            more, least, most = 1, 0x80, 0xBF
        elif 0xE0 <= c <= 0xEF:
            more, least, most = 2, 0xA0 if c == 0xE0 else 0x80, 0x9F if c == 0xED else 0xBF
        elif 0xF0 <= c <= 0xF4:
            more, least, most = 3, 0x90 if c == 0xF0 else 0x80, 0x8F if c == 0xF4 else 0xBF
        else:
            return _NO
        if at + more >= end or not least <= buffer[at + 1] <= most:
            return _NO
        for i in range(2, more + 1):
            if buffer[at + i] & 0xC0 != 0x80:
                return _NO
        at += 1 + more
    return count


@inlined
def is_key(keys: Keys, key: int, buffer: Any, start: int) -> bool:
    """Whether the bytes of a key stand here."""
    return same(keys.arena, keys.start[key], buffer, start, keys.length[key])


@compiled
def find_key(keys: Keys, buffer: Any, start: int, end: int, place: int) -> int:
    """The number of a key, -1 for one never seen."""
    mask = len(keys.slots) - 1
    slot = np.int64(hash_bytes(buffer, start, end, place) & np.uint64(mask))
    for _ in range(PROBES):
        key = keys.slots[slot]
        if key < 0:
            return _NO
        if keys.length[key] == end - start and keys.place[key] == place and is_key(keys, key, buffer, start):
            return key
        slot = (slot + 1) & mask
    return _NO


@inlined
def code_of(strings: Strings, key: int, buffer: Any, start: int, end: int) -> int:
    """The code of a key's text, made when it is new; -1 for malformed text, -2 when there is no room."""
    n = end - start
    mask = len(strings.slots) - 1
    slot = np.int64(hash_bytes(buffer, start, end, key) & np.uint64(mask))
    for _ in range(PROBES):
        at = strings.slots[slot]
        if at < 0:
            chars = count_characters(buffer, start, end)
            count, used = strings.used[0], strings.used[1]
            if chars < 0:
                return _NO
            if count >= len(strings.key) or used + n + PADDING > len(strings.arena):
                return _FULL
            strings.slots[slot] = count
            strings.key[count], strings.start[count], strings.length[count] = key, used, n
            strings.chars[count], strings.code[count] = chars, strings.codes[key]
            for i in range(n):
                strings.arena[used + i] = buffer[start + i]
            strings.codes[key] += 1
            strings.used[0], strings.used[1] = count + 1, used + n
            return strings.code[count]
        if strings.key[at] == key and strings.length[at] == n:
            if same(strings.arena, strings.start[at], buffer, start, n):
                return strings.code[at]
        slot = (slot + 1) & mask
    return _NO


@compiled
def high_and_low(a: Any, b: Any) -> Any:
    """The 128-bit product of two 64-bit numbers."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> half, b & low, b >> half
    cross, crossed = a0 * b1, a1 * b0
    middle = (a0 * b0 >> half) + (cross & low) + (crossed & low)
    return a1 * b1 + (cross >> half) + (crossed >> half) + (middle >> half), (middle << half) | (a0 * b0 & low)


@compiled
def nearest_double(digits: Any, exponent: int) -> float:
    """Digits · 10^exponent as the nearest double; -1 where the proof does not reach, so that the caller gives up."""
    if digits == np.uint64(0):
        return 0.0
    if exponent < _LEAST_POWER or exponent > _MOST_POWER:
        return -1.0
    zeros = 0
    w = digits
    for step in (32, 16, 8, 4, 2, 1):
        if w >> np.uint64(64 - step) == np.uint64(0):
            w <<= np.uint64(step)
            zeros += step
    row = exponent - _LEAST_POWER
    high, low = high_and_low(w, _FIVES[row, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        more, _ = high_and_low(w, _FIVES[row, 1])
        low += more
        if low < more:
            high += np.uint64(1)
    if low == np.uint64(0xFFFFFFFFFFFFFFFF) and (exponent < -27 or exponent > 55):
        return -1.0
    upper = high >> np.uint64(63)
    shift = upper + np.uint64(9)
    mantissa = high >> shift
    power = (((152170 + 65536) * exponent) >> 16) + 63 + np.int64(upper) - zeros
    if low <= np.uint64(1) and -4 <= exponent <= 23 and mantissa & np.uint64(3) == np.uint64(1):
        if mantissa << shift == high:  # exactly between two doubles: to the even one
            mantissa &= ~np.uint64(1)
    mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
    return np.float64(mantissa) * 2.0 ** (power - 52)


@inlined
def eight_digits(word: Any) -> Any:
    """The number that eight ASCII digits mean, by three multiplications."""
    word -= _ZEROS
    word = word * np.uint64(10) + (word >> np.uint64(8))
    pairs, others = word & np.uint64(0x000000FF000000FF), (word >> np.uint64(16)) & np.uint64(0x000000FF000000FF)
    return (pairs * np.uint64(0x000F424000000064) + others * np.uint64(0x0000271000000001)) >> np.uint64(32)


@compiled
def read_digits(buffer: Any, at: int, digits: Any) -> Any:
    """(position after the digits here, digits with them appended); wraps beyond 19, which the caller refuses."""
    while True:
        word = load8(buffer, at)
        low = word ^ _ZEROS
        others = (((low & ~_HIGHS) + _NINES) | low) & _HIGHS
        if others == np.uint64(0):
            digits = digits * np.uint64(100_000_000) + eight_digits(word)
            at += 8
            continue
        count = trailing_zeros(others) >> 3
        if count:
            shift = np.uint64(64 - 8 * count)
            digits = digits * _POWERS[count] + eight_digits((word << shift) | (_ZEROS >> (np.uint64(64) - shift)))
        return at + count, digits


@compiled
def read_number(buffer: Any, at: int, end: int) -> Any:
    """(position after the number, value, kind) of JSON's grammar; position -1 for what is not read here."""
    negative = buffer[at] == 45
    first = at + 1 if negative else at
    at, digits = read_digits(buffer, first, np.uint64(0))
    count, exponent = at - first, 0
    if count == 0 or (count > 1 and buffer[first] == 48):
        return _NO, 0.0, 0
    kind = INTEGER
    if buffer[at] == 46:
        kind = FLOAT
        fraction = at + 1
        at, digits = read_digits(buffer, fraction, digits)
        if at == fraction:
            return _NO, 0.0, 0
        exponent = fraction - at
        count += at - fraction
    if at < end and buffer[at] | 32 == 101:
        kind = FLOAT
        at += 1
        below = at < end and buffer[at] == 45
        if at < end and (buffer[at] == 45 or buffer[at] == 43):
            at += 1
        power, mark = 0, at
        while at < end and 48 <= buffer[at] <= 57 and at - mark < 5:
            power = power * 10 + buffer[at] - 48
            at += 1
        if at == mark:
            return _NO, 0.0, 0
        exponent += -power if below else power
    if count > 19 or (kind == INTEGER and (digits > np.uint64(_EXACT) or (negative and digits == np.uint64(0)))):
        return _NO, 0.0, 0
    if digits <= np.uint64(_EXACT) and -22 <= exponent <= 22:
        value = float(digits)
        value = value * _TENS[exponent] if exponent >= 0 else value / _TENS[-exponent]
    else:
        value = nearest_double(digits, exponent)
        if value < 0:
            return _NO, 0.0, 0
    if at > end:
        return _NO, 0.0, 0
    return at, -value if negative else value, kind


@compiled
def read_array(buffer: Any, at: int, end: int) -> Any:
    """(position after, length, largest) of a flat array of numbers; position -1 for any other."""
    count, largest = 0, -np.inf
    at = skip_space(buffer, at + 1, end)
    if at < end and buffer[at] == 93:
        return at + 1, 0, largest
    while at < end:
        at, value, _ = read_number(buffer, at, end)
        if at < 0:
            return _NO, 0, largest
        count += 1
        largest = max(largest, value)
        at = skip_space(buffer, at, end)
        if at < end and buffer[at] == 93:
            return at + 1, count, largest
        if at >= end or buffer[at] != 44:
            return _NO, 0, largest
        at = skip_space(buffer, at + 1, end)
    return _NO, 0, largest


@inlined
def is_word(buffer: Any, at: int, end: int, word: Any) -> bool:
    """Whether the word stands here."""
    return at + len(word) <= end and same(buffer, at, word, 0, len(word))


_NULL, _TRUE, _FALSE, _NAN = (np.frombuffer(word, np.uint8) for word in (b"null", b"true", b"false", b"NaN"))


@inlined
def read_value(strings: Strings, key: int, buffer: Any, at: int, end: int, longest: int) -> Any:
    """(position after, kind, value) of a scalar or a flat array of numbers; kind 0 is null.

    The position is -1 for anything else, -2 when the table of texts is full.
    """
    c = buffer[at]
    if c == 34:
        close = end_of_string(buffer, at + 1, end)
        if close < 0 or close - at - 1 > longest:
            return _NO, 0, 0.0
        code = code_of(strings, key, buffer, at + 1, close)
        return (close + 1, TEXT, np.float64(code)) if code >= 0 else (code, 0, 0.0)
    if c == 45 or 48 <= c <= 57:
        at, number, kind = read_number(buffer, at, end)
        return at, kind, number
    if c == 91:
        at, length, largest = read_array(buffer, at, end)
        if key == PROBABILITIES:
            return at, FLOAT if length else 0, largest
        return at, ARRAY, np.float64(length)
    if is_word(buffer, at, end, _NULL):
        return at + 4, 0, 0.0
    if is_word(buffer, at, end, _NAN):  # what Python writes for a missing number
        return at + 3, 0, 0.0
    if is_word(buffer, at, end, _TRUE):
        return at + 4, TRUE, 1.0
    if is_word(buffer, at, end, _FALSE):
        return at + 5, FALSE, 0.0
    return _NO, 0, 0.0


@inlined
def fits(key: int, place: int, kind: int) -> bool:
    """Whether the contract allows this kind of value for this key."""
    if place == TAG:
        return kind != ARRAY and kind != 0  # a tag that is null hides the feature of its name
    if place == FEATURE or key == PREDICTION or key == MODEL or key == VERSION:
        return True
    return kind == 0 or kind == FLOAT or kind == INTEGER


@inlined
def note(tape: Tape, row: int, token: int, key: int, kind: int, value: float) -> int:
    """Put a value where it belongs; the next token, or -1 for a kind that the field cannot have."""
    if key == TS:
        tape.ts[row] = np.int64(value)
        return token if kind == INTEGER else _NO
    if key == MODEL or key == VERSION:
        if key == MODEL:
            tape.model[row] = np.int32(value)
        else:
            tape.version[row] = np.int32(value)
        return token if kind == TEXT else _NO
    if kind:
        tape.key[token], tape.kind[token], tape.value[token] = key, kind, value
        return token + 1
    return token


@compiled
def read_event(keys: Keys, strings: Strings, tape: Tape, buffer: Any, at: int, end: int, row: int, token: int) -> int:
    """The token after those of this event; -1 for an event that is not read here, -2 for a full table of texts."""
    tape.model[row], tape.version[row], tape.id_length[row] = -1, -1, 0
    if not 2 <= end - at <= MAX_EVENT_BYTES:
        return _NO
    strings.used[2] += 1
    event, limit = strings.used[2], token + MAX_FEATURES
    at = skip_space(buffer, at, end)
    if at >= end or buffer[at] != 123:
        return _NO
    at = skip_space(buffer, at + 1, end)
    place, last = TOP, len(keys.start)
    while at < end and buffer[at] == 34:
        key = keys.follower[last]
        close = at + 1 + keys.length[key]
        if close >= end or buffer[close] != 34 or keys.place[key] != place or not is_key(keys, key, buffer, at + 1):
            close = end_of_string(buffer, at + 1, end)
            if close < 0:
                return _NO
            key = find_key(keys, buffer, at + 1, close, place)
        if key < 0 or keys.seen[key] == event or token >= limit:
            return _NO
        keys.seen[key] = event
        keys.follower[last] = key
        last = key
        at = skip_space(buffer, close + 1, end)
        if at >= end or buffer[at] != 58:
            return _NO
        at = skip_space(buffer, at + 1, end)
        if at >= end:
            return _NO
        if key == FEATURES or key == TAGS:
            if buffer[at] != 123:
                return _NO
            at = skip_space(buffer, at + 1, end)
            place = FEATURE if key == FEATURES else TAG
            if at >= end or buffer[at] != 125:
                continue
        elif key == ID:
            close = end_of_string(buffer, at + 1, end) if buffer[at] == 34 else _NO
            if not 0 < close - at - 1 <= MAX_ID or count_characters(buffer, at + 1, close) < 0:
                return _NO
            tape.id_start[row], tape.id_length[row] = at + 1, close - at - 1
            at = skip_space(buffer, close + 1, end)
        else:
            named = key == MODEL or key == VERSION
            longest = MAX_NAME if named else MAX_STRING
            if named and at + 1 < end and buffer[at + 1] == 34:  # a name has at least one character
                return _NO
            at, kind, value = read_value(strings, key, buffer, at, end, longest)
            if at < 0:
                return at
            token = note(tape, row, token, key, kind, value) if fits(key, place, kind) else _NO
            if token < 0:
                return _NO
            at = skip_space(buffer, at, end)
        if at < end and buffer[at] == 125 and place != TOP:
            place = TOP
            at = skip_space(buffer, at + 1, end)
        if at >= end:
            return _NO
        if buffer[at] == 125:
            whole = skip_space(buffer, at + 1, end) == end and place == TOP
            return token if whole and keys.seen[TS] == event and tape.id_length[row] > 0 else _NO
        if buffer[at] != 44:
            return _NO
        at = skip_space(buffer, at + 1, end)
    return _NO


@compiled
def scan(keys: Keys, strings: Strings, tape: Tape, buffer: Any, ends: Any, done: int, row: int) -> int:
    """Scan the events `done`, `done` + 1 … of the buffer into the rows from `row` on; returns the first one not done.

    Event i lies between ends[i] and ends[i + 1]; `PADDING` bytes follow the last. Stops before the end when the table
    of texts is full.
    """
    token = tape.first[row]
    for i in range(done, len(ends) - 1):
        after = read_event(keys, strings, tape, buffer, ends[i], ends[i + 1], row, token)
        if after == _FULL:
            return i
        tape.fast[row] = after >= 0
        token = after if after >= 0 else token
        row += 1
        tape.first[row] = token
    return len(ends) - 1


@compiled
def groups_of(tape: Tape, rows: Any, slots: Any, found: Any) -> int:
    """The (key, group) pairs of some rows into `found`, their places into `slots` (-1 before); how many there are.

    Groups: 0 numbers, 1 texts, 2 true and false, 3 arrays.
    """
    count = 0
    for r in rows:
        for t in range(tape.first[r], tape.first[r + 1]):
            kind = tape.kind[t]
            at = tape.key[t] * 4 + (0 if kind <= INTEGER else 1 if kind == TEXT else 2 if kind <= TRUE else 3)
            if slots[at] < 0:
                slots[at] = count
                found[count] = at
                count += 1
    return count


@compiled
def mark(tape: Tape, rows: Any, models: Any, slots: Any, has: Any) -> None:
    """Set `has` at the model of each row and the places of the row's (key, group) pairs."""
    for i in range(len(rows)):
        r = rows[i]
        for t in range(tape.first[r], tape.first[r + 1]):
            kind = tape.kind[t]
            at = tape.key[t] * 4 + (0 if kind <= INTEGER else 1 if kind == TEXT else 2 if kind <= TRUE else 3)
            has[models[i], slots[at]] = True


@compiled
def spread(tape: Tape, rows: Any, order: Any, slots: Any, numbers: Any, codes: Any) -> None:
    """Values of some rows into dense blocks (pairs, rows): codes of groups 1 and 2, numbers of the others.

    Row rows[i] has the place i in the blocks; `order` is that in which they are read, best as they lie on the tape.
    """
    for i in order:
        r = rows[i]
        for t in range(tape.first[r], tape.first[r + 1]):
            kind = tape.kind[t]
            if kind <= INTEGER:
                numbers[slots[tape.key[t] * 4], i] = tape.value[t]
            elif kind == TEXT:
                codes[slots[tape.key[t] * 4 + 1], i] = np.int64(tape.value[t])
            elif kind <= TRUE:
                codes[slots[tape.key[t] * 4 + 2], i] = np.int64(tape.value[t])
            else:
                numbers[slots[tape.key[t] * 4 + 3], i] = tape.value[t]


@compiled
def pick(tape: Tape, rows: Any, key: int, place: int, kinds: Any, values: Any) -> None:
    """One key's values of some rows, where they have any; kinds get the key's place above their three bits."""
    for i in range(len(rows)):
        for t in range(tape.first[rows[i]], tape.first[rows[i] + 1]):
            if tape.key[t] == key:
                kinds[i], values[i] = place * 8 + tape.kind[t], tape.value[t]
