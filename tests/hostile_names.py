"""Names that a stranger may choose: each of them once did something to a terminal, or might."""

from __future__ import annotations

NAMES: dict[str, str] = {
    "closes what was never open": "[/nope]",
    "a link in markup": "[link=http://x.example]a[/link]",
    "a style in markup": "[bold red]b[/]",
    "an emoji by its name": ":boom:",
    "clears the screen": "c\x1b[2J\x1b[H",
    "a link of the terminal": "d\x1b]8;;http://x.example\x1b\\d\x1b]8;;\x1b\\",
    "writes the clipboard": "e\x1b]52;c;cm0gLXJm\x07",
    "C1 control sequence": "f\x9b31m",
    "a new line": "g\nerror: pay here",
    "back to the start of the line": "h\rerror: pay here",
    "a tab": "i\ti",
    "nothing": "j\x00j",
    "takes back what was said": "k\x08\x08\x08",
    "turns round": "l\u202egnp.exe",
    "isolates": "m\u2066m\u2069\u200f\u061c",
    "joins without width": "n\u200dn\u200bn\ufeff",
    "line separator": "o\u2028p\u2029q\x85",
    "right to left": "\u05e9\u05dc\u05d5\u05dd",
    "flood of marks": "q" + "\u0301" * 127,
    "as long as may be": "r" * 128,
    "emoji": "\U0001f4a5\U0001f469\u200d\U0001f680",
    "a backslash": "\\[t]\\",
    "formats": "%s {0} ${HOME} `id`",
    "out of JSON": '"}],"u":1',
    "a formula": "=1+1|'cmd'!A0",
    "tags nobody sees": "v\U000e0041\U000e007f",
    "an annotation": "w\ufff9x\ufffby",
    "private use": "\ue000z",
}
"""By what they do. All may be names of models: they have at most 128 characters."""

TOO_LONG = "[/nope]\x1b[2J" * 30
SURROGATE = b'"\\ud800[/nope]"'
"""Half a character, in JSON."""
