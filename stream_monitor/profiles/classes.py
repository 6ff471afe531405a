"""When two spellings name one class: an answer and its label may come from systems that write them in two ways.

true, True, 1 and "1.0" are one class; so are "17" and 17. "spam" and "Spam" are two: they are compared as they are
written, and a confusion matrix shows them. A class and a number are compared where the class is a whole number or a
truth value.
"""

from __future__ import annotations

import functools
import math
import re

import numpy as np

from stream_monitor.types import F64, Bool

CLASS_NUMBERS = 100
"""Whole numbers below this, from 0 on, may be numbers of classes: two of them are compared as classes, too."""
_EXACT = 2**53
_TRUTHS = {"true": 1.0, "True": 1.0, "TRUE": 1.0, "false": 0.0, "False": 0.0, "FALSE": 0.0}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.0{1,15})?")


def truth_of(category: str) -> float:
    """1 for true, 0 for false, however they are capitalised; NaN for all other classes."""
    return _TRUTHS.get(category, math.nan)


@functools.lru_cache(1 << 16)
def whole_of(category: str) -> float:
    """The whole number that a class is written as, of true and false 1 and 0; NaN for all other classes."""
    truth = truth_of(category)
    if truth == truth or _WHOLE.fullmatch(category) is None:
        return truth
    number = float(category)
    return number if abs(number) < _EXACT else math.nan


def class_of(category: str) -> str:
    """The one spelling of a class: equal for two names of one class."""
    number = whole_of(category)
    return category if number != number else written(number)


def written(number: float) -> str:
    """A whole number as the name of a class."""
    return str(int(number))


def are_whole(values: F64) -> Bool:
    """Which values are whole numbers that doubles hold exactly."""
    return np.asarray((np.abs(values) < _EXACT) & (np.floor(values) == values))


def are_class_numbers(values: F64) -> Bool:
    """Which values may be numbers of classes."""
    return np.asarray((values >= 0) & (values < CLASS_NUMBERS) & (np.floor(values) == values))


def same_class(a: str | bool | float, b: object) -> bool:
    """Whether two answers mean the same."""
    return _name(a) == _name(b)


def _name(value: object) -> object:
    if isinstance(value, bool):
        return written(value)
    if isinstance(value, str):
        return class_of(value)
    whole = isinstance(value, int | float) and abs(value) < _EXACT and value == math.floor(value)
    return written(value) if whole and isinstance(value, int | float) else value
