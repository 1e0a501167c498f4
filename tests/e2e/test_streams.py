"""Streams in time: nothing waits, quiet is filled, who leaves is noticed."""

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from script import SCRIPTS, Script, Text
from answers import plain
from sdks import SDKS, ask

MESSAGES = "/anthropic/v1/messages"
CHAT = "/openai/v1/chat/completions"
ROUTES = [
    (MESSAGES, "{}"),
    (MESSAGES, "openai/{}"),
    (CHAT, "{}"),
    (CHAT, "anthropic/{}"),
]
NAMES = ["messages", "messages-to-chat", "chat", "chat-to-messages"]


@pytest.fixture(params=ROUTES, ids=NAMES)
def stream(request, gateway):
    """Opens a raw stream of a script, on each of the four routes."""
    path, pattern = request.param

    def opened(name: str, **more: object):
        body = {"model": pattern.format(name), "messages": [{"role": "user", "content": "hi"}]}
        return gateway.post(path, body | {"max_tokens": 64, "stream": True} | more)

    return opened


def test_events_leave_as_they_come(stream):
    """Four words, 200 ms apart, arrive 200 ms apart."""
    arrived = {}
    for at, data in stream("slow").pieces():
        for word in (b"one ", b"two ", b"three ", b"four"):
            if word in data:
                arrived.setdefault(word, at)
    times = list(arrived.values())
    assert len(times) == 4, arrived
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert all(0.15 < gap < 0.3 for gap in gaps), gaps


LEFT_WITHIN_S = 0.1


def best_of_three(leave) -> None:
    """How soon an upstream sees that a client left; the machine may be busy, but not three times."""
    times = [leave() for _ in range(3)]
    assert min(times) < LEFT_WITHIN_S, times


def test_client_gone_cancels_the_stream(stream, upstream):
    def leave() -> float:
        answer = stream("forever")
        next(answer.pieces())
        left = answer.hang_up()
        (asked,) = upstream.take()
        return upstream.wait_closed(asked) - left

    best_of_three(leave)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_client_gone_before_the_first_byte(gateway, upstream, path, streamed):
    """The upstream is still thinking when the client leaves."""
    upstream.scripts["ponder"] = Script(head_delay_s=20)
    body = {"model": "ponder", "max_tokens": 9, "messages": [], "stream": streamed}
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\n\r\n"

    def leave() -> float:
        client = socket.create_connection(("127.0.0.1", gateway.port))
        client.sendall(head.encode() + text)
        until = time.monotonic() + 5
        while not upstream.requests and time.monotonic() < until:
            time.sleep(0.005)
        (asked,) = upstream.take()
        client.close()
        left = time.monotonic()
        return upstream.wait_closed(asked) - left

    best_of_three(leave)


def test_heartbeat_on_a_quiet_stream(stream, upstream):
    """With an interval of one second, 2.5 quiet seconds hold two heartbeats."""
    upstream.stall_s = 2.5
    silent_until = 0.0
    beats = []
    for at, data in stream("quiet-middle").pieces():
        is_beat = data.startswith(b":") or b"event: ping" in data
        if at > 0.5 and is_beat and not silent_until:
            beats.append(at)
        if b"after" in data:
            silent_until = at
    assert 2.3 < silent_until < 3.5
    assert len(beats) == 2, beats
    assert 0.8 < beats[0] < 1.6


@pytest.mark.parametrize("name", ["quiet-middle", "quiet-start"])
def test_every_client_bears_the_quiet(drive, direction, name, upstream):
    """All SDKs at once, because each waits: heartbeats disturb none of them."""
    upstream.stall_s = 1.4

    def heard(sdk):
        other = "openai" if sdk.dialect == "anthropic" else "anthropic"
        model = name if direction == "same" else f"{other}/{name}"
        answer = drivers[sdk.name].call("stream", ask(sdk, model))
        return answer.get("error") or plain(sdk, answer["message"])["text"]

    drivers = {sdk.name: drive(sdk) for sdk in SDKS.values()}
    with ThreadPoolExecutor(len(SDKS)) as pool:
        texts = dict(zip(SDKS, pool.map(heard, SDKS.values())))
    assert texts == dict.fromkeys(SDKS, SCRIPTS[name].text)


def test_many_streams_at_once(gateway, upstream):
    """A hundred open streams at once, all whole."""
    upstream.scripts["parts"] = Script((Text(tuple(f"{i} " for i in range(20))),), pace_s=0.01)
    answers = [
        gateway.post(CHAT, {"model": "parts", "messages": [], "stream": True}) for _ in range(100)
    ]
    for answer in answers:
        body = answer.body
        assert body.endswith(b"data: [DONE]\n\n")
        assert re.findall(rb'"content":"(\d+) "', body) == [b"%d" % i for i in range(20)]


def test_connections_are_reused(gateway, upstream):
    """Requests one after the other use few upstream connections: at most one per core."""
    for _ in range(20):
        assert gateway.post(CHAT, {"model": "text", "messages": []}).body
    assert len({request.connection for request in upstream.take()}) <= 2
