"""What a scripted upstream says: an answer, free of any dialect, and how its transport behaves.

A test names a script as the model of its request. `dialects.py` writes a script in a language,
`upstream.py` sends it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Text:
    pieces: tuple[str, ...]

    @property
    def whole(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class Thinking:
    pieces: tuple[str, ...]
    signature: str = ""

    @property
    def whole(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class Tool:
    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def input(self) -> object:
        return json.loads("".join(self.pieces) or "{}")


@dataclass(frozen=True)
class Usage:
    """Token counts. `input` excludes what was read from or written to a prompt cache."""

    input: int = 25
    output: int = 12
    cached: int = 0
    written: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Script:
    blocks: tuple[Text | Thinking | Tool, ...] = (Text(("Hello, ", "wörld", "!")),)
    # end | tool | length | sequence
    stop: str = "end"
    usage: Usage = Usage()

    # An early failure: this status, with `error` as (type, message) in the upstream's language.
    status: int = 200
    error: tuple[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    # Sent as it is, in place of everything above.
    body: bytes | None = None
    content_type: str | None = None

    # chunked | length | close
    framing: str = "chunked"
    # Bytes per write; 0 writes frame by frame.
    slice: int = 0
    # Seconds before the head, and between two frames.
    head_delay_s: float = 0.0
    pace_s: float = 0.0
    # cut | rst | stall | error | clean_end: what happens once `after` pieces of text were sent;
    # -1 is before the head.
    fault: str | None = None
    after: int = 0
    # One answer per turn of a conversation: chosen by the number of assistant messages so far.
    turns: tuple["Script", ...] = field(default=())

    @property
    def text(self) -> str:
        return "".join(b.whole for b in self.blocks if isinstance(b, Text))

    @property
    def tools(self) -> list[Tool]:
        return [b for b in self.blocks if isinstance(b, Tool)]

    @property
    def thinking(self) -> Thinking | None:
        return next((b for b in self.blocks if isinstance(b, Thinking)), None)


TEXT = Script()
WEATHER = Tool("toolu_weather1", "get_weather", ('{"city": ', '"Zürich", "days"', ": 3}"))
CLOCK = Tool("toolu_clock2", "get_time", ('{"zone":"UTC"}',))

SCRIPTS: dict[str, Script] = {
    "text": TEXT,
    "empty-args": Script((Tool("toolu_e", "ping", ()),), stop="tool"),
    "tool": Script((Text(("Let me look.",)), WEATHER), stop="tool"),
    "parallel-tools": Script((WEATHER, CLOCK), stop="tool"),
    "thinking": Script(
        (Thinking(("Let me ", "think."), "c2lnbmF0dXJl"), Text(("Forty-", "two."))),
        usage=Usage(input=30, output=20, reasoning=7),
    ),
    "cached": Script(usage=Usage(input=10, output=5, cached=100)),
    "long": Script((Text(tuple(f"word{i} " for i in range(300))),), stop="length"),
    "slow": Script((Text(("one ", "two ", "three ", "four")),), pace_s=0.2),
    # Quiet long enough for a heartbeat of one second, before and after the first frame.
    "quiet-start": Script(head_delay_s=1.6),
    "quiet-middle": Script((Text(("before ", "after")),), fault="stall", after=1, pace_s=0.0),
    "bytewise": Script(
        (Thinking(("gründ",), "c2ln"), Text(("grüße ", "🦀", " ende"))), slice=1
    ),
    "length-framed": Script(framing="length"),
    "close-framed": Script(framing="close"),
    # Streams that go wrong after some frames.
    "cut": Script((Text(("one ", "two ", "three ")),), fault="cut", after=1),
    "rst": Script((Text(("one ", "two ", "three ")),), fault="rst", after=1),
    "error-mid": Script(
        (Text(("one ", "two ", "three ")),),
        fault="error",
        after=1,
        error=("overloaded_error", "Overloaded in the middle"),
    ),
    "clean-end": Script((Text(("one ", "two ", "three ")),), fault="clean_end", after=1),
    "forever": Script((Text(tuple("tick " for _ in range(3000))),), pace_s=0.01),
    "cut-before-head": Script(fault="cut", after=-1),
}

ERRORS: dict[str, tuple[int, str, str]] = {
    "fail-400": (400, "invalid_request_error", "max_tokens: must be ≥ 1 \"quoted\""),
    "fail-401": (401, "authentication_error", "invalid key"),
    "fail-403": (403, "permission_error", "not for you"),
    "fail-404": (404, "not_found_error", "no such model"),
    "fail-413": (413, "request_too_large", "too much"),
    "fail-429": (429, "rate_limit_error", "slow down"),
    "fail-500": (500, "api_error", "it broke"),
    "fail-503": (503, "api_error", "away"),
    "fail-529": (529, "overloaded_error", "Overloaded"),
}
for _name, (_status, _kind, _message) in ERRORS.items():
    SCRIPTS[_name] = Script(status=_status, error=(_kind, _message))
SCRIPTS["fail-429"] = replace(
    SCRIPTS["fail-429"],
    headers=(
        ("retry-after", "17"),
        ("x-should-retry", "false"),
        ("anthropic-ratelimit-requests-remaining", "0"),
    ),
)
SCRIPTS["fail-html"] = Script(
    status=502,
    body=b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    content_type="text/html",
)

# What Claude Code is led through: a command, a file written, two tools at once, the end.
SCRIPTS["agent"] = Script(
    turns=(
        Script(
            (
                Text(("Running.",)),
                Tool("toolu_01A", "Bash", ('{"command": "echo mock-$((40+2))",', ' "description": "Echo"}')),
            ),
            stop="tool",
        ),
        Script(
            (
                Tool(
                    "toolu_01B",
                    "Write",
                    ('{"file_path": "@WORK@/a.txt", ', '"content": "line one\\nline two ünïcode \\"quoted\\"\\n"}'),
                ),
            ),
            stop="tool",
        ),
        Script(
            (
                Text(("Reading ", "twice.")),
                Tool("toolu_01C", "Read", ('{"file_path": "@WORK@/a.txt"}',)),
                Tool("toolu_01D", "Bash", ('{"command": "cat @WORK@/a.txt | wc -l", "description": "Count"}',)),
            ),
            stop="tool",
        ),
        Script((Text(("All ", "done.")),)),
    )
)
