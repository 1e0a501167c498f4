"""The program itself: its sub-commands, its demo, its refusal of wrong configuration."""

import http.client
import json
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import DIRECT
from gateway import BINARY, Gateway, config, environment, free_port

pytestmark = pytest.mark.skipif(DIRECT, reason="needs the gateway")


def run(*arguments: object, folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BINARY, *map(str, arguments)],
        env=environment(HOME=str(folder)),
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_demo(tmp_path):
    """Without a key or a file: answers in each language are streamed, then it stays up."""
    port = free_port()
    process = subprocess.Popen(
        [BINARY, "demo", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(HOME=str(tmp_path)),
    )
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, f"the demo ended early:\n{said}"
            said += line
        for path in ("/anthropic/v1/messages", "/openai/v1/chat/completions"):
            assert path in said
        for client in ("ANTHROPIC_BASE_URL", "Anthropic(", "OpenAI("):
            assert client in said
        assert f"127.0.0.1:{port}" in said or f"localhost:{port}" in said
        body = {"model": "mock/echo", "messages": [{"role": "user", "content": "still there?"}]}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", "/openai/v1/chat/completions", json.dumps(body))
        assert "still there?" in connection.getresponse().read().decode()
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_check_accepts(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config("http://127.0.0.1:1")))
    done = run("check", "--app-dir", tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("client.max_request_body_size_mbs", 5),
        ("client.max_request_body_size_mb", "many"),
        ("providers.openai.network_config.base_uri", "http://x"),
    ],
)
def test_wrong_configuration_stops_the_start(tmp_path, path, value):
    settings = config("http://127.0.0.1:1")
    *folders, last = path.split(".")
    place = settings
    for folder in folders:
        place = place[folder]
    place[last] = value
    (tmp_path / "config.json").write_text(json.dumps(settings))
    for command in (["check"], ["--port", free_port()]):
        done = run(*command, "--app-dir", tmp_path, folder=tmp_path)
        assert done.returncode != 0
        assert path in done.stderr + done.stdout


def test_misspelt_field_gets_a_suggestion(tmp_path):
    settings = config("http://127.0.0.1:1")
    settings["client"]["max_request_body_size_mbs"] = 5
    (tmp_path / "config.json").write_text(json.dumps(settings))
    done = run("check", "--app-dir", tmp_path, folder=tmp_path)
    assert re.search(r"max_request_body_size_mb\b", done.stderr + done.stdout)


def test_schema_is_a_json_schema(tmp_path):
    schema = json.loads(run("schema", folder=tmp_path).stdout)
    assert "$schema" in schema
    assert "providers" in schema["properties"]


def test_key_from_the_environment(tmp_path, upstream):
    """`env.NAME` in a file; and no file at all."""
    settings = config(upstream.url)
    settings["providers"]["openai"]["keys"][0]["value"] = "env.PATH"
    with Gateway(settings, tmp_path) as gateway:
        gateway.post("/openai/v1/chat/completions", {"model": "text", "messages": []})
    assert upstream.take_one().header("authorization") == f"Bearer {environment()['PATH']}"


def test_starts_quickly(tmp_path):
    begun = time.monotonic()
    with Gateway(config("http://127.0.0.1:1"), tmp_path) as gateway:
        assert gateway.ask("GET", "/livez").status == 200
        assert time.monotonic() - begun < 0.5


def test_stops_in_order_from_the_first_moment(tmp_path):
    """Whoever finds the port open can also end the process with code 0 (checked at the exit)."""
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with Gateway(config("http://127.0.0.1:1"), folder):
            pass


def test_drains_what_is_under_way(tmp_path, upstream):
    """SIGTERM lets a running stream end, and takes no new connection."""
    with Gateway(config(upstream.url), tmp_path) as gateway:
        answer = gateway.post(
            "/openai/v1/chat/completions", {"model": "slow", "messages": [], "stream": True}
        )
        gateway.process.send_signal(signal.SIGTERM)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        until = time.monotonic() + 5
        with pytest.raises(OSError):
            while time.monotonic() < until:
                gateway.ask("GET", "/livez")
