"""What the upstream receives: the client's own bytes, or the same meaning in its language."""

import http.client
import io
import json

import pytest
from script import WEATHER
from sdks import ask

MESSAGES = "/anthropic/v1/messages"
CHAT = "/openai/v1/chat/completions"

# Unusual on purpose: spacing, key order, escapes, unknown keys, big and exact numbers.
ODD_MESSAGES = (
    '{ "x_first":[1.0,1e3,12345678901234567890],\n\t"messages" : [{"role":"user","content":'
    '"gr\\u00fc\\u00dfe \\ud83e\\udd80 / \\/ grüße","x_block":{"b":1,"a":null}},'
    '{"role":"system","content":[],"output_config":{"effort":"high"}}],'
    '"max_tokens":64 ,"model":"%s","thinking":{"type":"adaptive","display":"updates"},'
    '"x_last":{"z":0,"y":{}},"stream":%s}'
)
ODD_CHAT = (
    '{"stream":%s, "messages":[{"content":"caf\\u00e9","role":"user","x":[ ]}],\r\n'
    ' "model" :  "%s","x_unknown":{"deep":[{"er":1.50}]},"seed":18446744073709551615 }'
)


def odd(path: str, model: str, stream: bool) -> bytes:
    flag = "true" if stream else "false"
    text = ODD_MESSAGES % (model, flag) if path == MESSAGES else ODD_CHAT % (flag, model)
    return text.encode()


def sent_body(answer: bytes) -> bytes:
    """The body of a recorded answer, without head and chunk framing."""

    class Socket:
        def makefile(self, *_args: object) -> io.BytesIO:
            return io.BytesIO(answer)

    response = http.client.HTTPResponse(Socket())
    response.begin()
    return response.read()


class TestIdentity:
    """Same language on both sides: bytes are kept, both ways."""

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("path", [MESSAGES, CHAT])
    def test_without_prefix_nothing_changes(self, gateway, upstream, path, stream):
        body = odd(path, "thinking", stream)
        answer = gateway.post(path, body).body
        got = upstream.take_one()
        assert got.body == body
        assert answer == sent_body(bytes(got.answer))

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("path", [MESSAGES, CHAT])
    def test_with_prefix_only_the_model_changes(self, gateway, upstream, path, stream):
        own = "anthropic" if path == MESSAGES else "openai"
        answer = gateway.post(path, odd(path, f"{own}/tool", stream)).body
        got = upstream.take_one()
        assert got.body == odd(path, "tool", stream)
        assert answer == sent_body(bytes(got.answer))

    @pytest.mark.parametrize(
        ("path", "model"), [(MESSAGES, "acme-claude/text"), (CHAT, "acme/text")]
    )
    def test_custom_provider(self, gateway, upstream, path, model):
        assert gateway.post(path, odd(path, model, False)).status == 200
        got = upstream.take_one()
        assert got.body == odd(path, "text", False)
        assert "sk-acme" in (got.header("authorization") or "") + (got.header("x-api-key") or "")

    def test_big_body(self, gateway, upstream):
        """A prompt of some megabytes, `stream` last, arrives whole."""
        body = {"model": "text", "messages": [{"role": "user", "content": "wörd " * 800_000}]}
        raw = json.dumps(body | {"stream": True}, ensure_ascii=False).encode()
        assert gateway.post(CHAT, raw).status == 200
        assert upstream.take_one().body == raw

    def test_bytewise_stream(self, gateway, upstream):
        answer = gateway.post(MESSAGES, {"model": "bytewise", "max_tokens": 9, "messages": [], "stream": True})
        assert answer.body == sent_body(bytes(upstream.take_one().answer))

    def test_error_bytes(self, gateway, upstream):
        answer = gateway.post(MESSAGES, {"model": "fail-400", "messages": []}).body
        assert answer == sent_body(bytes(upstream.take_one().answer))


class TestHeaders:
    def test_messages(self, gateway, upstream):
        headers = {
            "authorization": "Bearer dummy-key",
            "x-api-key": "dummy-key",
            "anthropic-version": "2026-10-21",
            "anthropic-beta": "context-management-2025-06-27,effort-2025-11-24",
            "x-bf-vk": "",
            "x-bf-anything": "secret",
            "cookie": "a=b",
        }
        del headers["x-bf-vk"]
        gateway.post(f"{MESSAGES}?beta=true", odd(MESSAGES, "text", False), headers)
        got = upstream.take_one()
        assert got.target == "/base/v1/messages?beta=true"
        assert got.header("x-api-key") == "sk-ant-scripted"
        assert got.header("authorization") is None
        assert got.header("anthropic-version") == "2026-10-21"
        assert got.header("anthropic-beta") == headers["anthropic-beta"]
        assert got.header("cookie") is None
        assert not [name for name, _ in got.headers if name.lower().startswith("x-bf-")]
        assert got.header("content-length") == str(len(got.body))

    def test_chat(self, gateway, upstream):
        headers = {"authorization": "Bearer dummy-key", "openai-beta": "assistants=v2"}
        gateway.post(CHAT, odd(CHAT, "text", False), headers)
        got = upstream.take_one()
        assert got.target == "/base/v1/chat/completions"
        assert got.header("authorization") == "Bearer sk-scripted"
        assert got.header("openai-beta") == "assistants=v2"
        assert "gzip" not in (got.header("accept-encoding") or "")

    def test_version_is_supplied(self, gateway, upstream):
        """An Anthropic upstream insists on a version that an OpenAI client does not send."""
        gateway.post(CHAT, odd(CHAT, "anthropic/text", False))
        assert upstream.take_one().header("anthropic-version")

    def test_extra_headers_of_the_sdk(self, drive, sdk, gateway, upstream):
        drive(sdk).call("create", ask(sdk, "text"), headers={"x-bf-env": "prod", "x-bf-dim-team": "a"})
        got = upstream.take_one()
        assert not [name for name, _ in got.headers if name.lower().startswith("x-bf-")]

    def test_request_ids_come_back(self, gateway):
        assert gateway.post(MESSAGES, odd(MESSAGES, "text", False)).headers["request-id"] == "req_upstream"
        assert gateway.post(CHAT, odd(CHAT, "text", False)).headers["x-request-id"] == "req_upstream"


SCHEMA = {
    "type": "object",
    "properties": {"zeta": {"type": "string"}, "city": {"type": "string"}},
    "required": ["city"],
}


class TestAcross:
    def test_messages_to_chat(self, gateway, upstream):
        answer = gateway.post(
            MESSAGES,
            {
                "model": "openai/text",
                "max_tokens": 64,
                "system": [{"type": "text", "text": "Be brief."}],
                "temperature": 0.3,
                "stop_sequences": ["END"],
                "tools": [{"name": "get_weather", "description": "Tells.", "input_schema": SCHEMA}],
                "tool_choice": {"type": "any"},
                "messages": [
                    {"role": "user", "content": "Weather?"},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "text", "text": "Let me look."},
                            {"type": "tool_use", "id": WEATHER.id, "name": WEATHER.name, "input": WEATHER.input},
                        ],
                    },
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": WEATHER.id, "content": "12 °C"},
                            {"type": "text", "text": "And now?"},
                        ],
                    },
                ],
            },
        )
        assert answer.status == 200
        assert "x-bf-dropped" not in answer.headers
        body = upstream.take_one().json
        system, user, assistant, result, after = body["messages"]
        assert system["role"] in ("system", "developer")
        assert text_of(system) == "Be brief."
        assert (user["role"], text_of(user)) == ("user", "Weather?")
        assert (assistant["role"], text_of(assistant)) == ("assistant", "Let me look.")
        (call,) = assistant["tool_calls"]
        assert (call["id"], call["type"], call["function"]["name"]) == (WEATHER.id, "function", "get_weather")
        assert json.loads(call["function"]["arguments"]) == WEATHER.input
        assert (result["role"], result["tool_call_id"], text_of(result)) == ("tool", WEATHER.id, "12 °C")
        assert (after["role"], text_of(after)) == ("user", "And now?")
        (tool,) = body["tools"]
        assert tool["function"]["parameters"] == SCHEMA
        assert list(tool["function"]["parameters"]["properties"]) == ["zeta", "city"]
        assert body["tool_choice"] == "required"
        assert body["temperature"] == 0.3
        assert body["stop"] == ["END"]
        assert 64 in (body.get("max_tokens"), body.get("max_completion_tokens"))

    def test_chat_to_messages(self, gateway, upstream):
        answer = gateway.post(
            CHAT,
            {
                "model": "anthropic/text",
                "max_completion_tokens": 77,
                "stop": "END",
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "get_weather", "description": "Tells.", "parameters": SCHEMA},
                    }
                ],
                "tool_choice": "required",
                "parallel_tool_calls": False,
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Weather?"},
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {
                                "id": WEATHER.id,
                                "type": "function",
                                "function": {"name": WEATHER.name, "arguments": "".join(WEATHER.pieces)},
                            },
                            {
                                "id": "toolu_2",
                                "type": "function",
                                "function": {"name": WEATHER.name, "arguments": "{}"},
                            },
                        ],
                    },
                    {"role": "tool", "tool_call_id": WEATHER.id, "content": "12 °C"},
                    {"role": "tool", "tool_call_id": "toolu_2", "content": "13 °C"},
                ],
            },
        )
        assert answer.status == 200
        assert "x-bf-dropped" not in answer.headers
        body = upstream.take_one().json
        assert text_of({"content": body["system"]}) == "Be brief."
        user, assistant, results = body["messages"]
        assert (user["role"], text_of(user)) == ("user", "Weather?")
        first, second = assistant["content"]
        assert (first["type"], first["id"], first["input"]) == ("tool_use", WEATHER.id, WEATHER.input)
        assert second["input"] == {}
        assert results["role"] == "user", "both results in one turn, as Anthropic wants them"
        assert [r["tool_use_id"] for r in results["content"]] == [WEATHER.id, "toolu_2"]
        assert text_of(results["content"][0]) == "12 °C"
        assert body["tools"][0]["input_schema"] == SCHEMA
        assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
        assert body["stop_sequences"] == ["END"]
        assert body["max_tokens"] == 77

    def test_images(self, gateway, upstream):
        pixel = "iVBORw0KGgo="
        gateway.post(
            MESSAGES,
            {
                "model": "openai/text",
                "max_tokens": 9,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}},
                            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                            {"type": "text", "text": "What?"},
                        ],
                    }
                ],
            },
        )
        first, second, text = upstream.take_one().json["messages"][0]["content"]
        assert first["image_url"]["url"] == f"data:image/png;base64,{pixel}"
        assert second["image_url"]["url"] == "https://example.org/a.png"
        assert text["text"] == "What?"
        gateway.post(
            CHAT,
            {
                "model": "anthropic/text",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
                            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                        ],
                    }
                ],
            },
        )
        first, second = upstream.take_one().json["messages"][0]["content"]
        assert first["source"] == {"type": "base64", "media_type": "image/png", "data": pixel}
        assert second["source"] == {"type": "url", "url": "https://example.org/a.png"}


def text_of(message: dict) -> str:
    """Content as one text, whether it came as a string or as blocks."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


class TestLoss:
    """Nothing is dropped in silence."""

    BODY = {
        "model": "openai/text",
        "max_tokens": 64,
        "top_k": 5,
        "x_nobody_knows": {"a": 1},
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "x_block": 1}]}],
    }

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_named_in_a_header(self, gateway, upstream, stream):
        answer = gateway.post(MESSAGES, self.BODY | {"stream": stream})
        assert answer.status == 200
        dropped = [path.strip() for path in answer.headers["x-bf-dropped"].split(",")]
        assert "top_k" in dropped
        assert "x_nobody_knows" in dropped
        assert any("x_block" in path for path in dropped)
        assert upstream.take_one().json.get("top_k") is None

    def test_strict_refuses(self, gateway, upstream):
        answer = gateway.post(MESSAGES, self.BODY, {"x-bf-strict": "true"})
        assert answer.status == 400
        error = answer.json
        assert error["error"]["type"] == "invalid_request_error"
        assert "top_k" in error["error"]["message"]
        assert upstream.take() == []

    def test_strict_lets_the_lossless_pass(self, gateway):
        body = {"model": "openai/text", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        assert gateway.post(MESSAGES, body, {"x-bf-strict": "true"}).status == 200

    def test_sdk_sees_the_header(self, drive, sdk, gateway):
        other = "openai" if sdk.dialect == "anthropic" else "anthropic"
        asked = ask(sdk, f"{other}/text")
        asked |= {"extra_body": {"x_nobody_knows": 1}} if "-py-" in sdk.name else {"x_nobody_knows": 1}
        answer = drive(sdk).call("create", asked)
        assert "x_nobody_knows" in answer["headers"]["x-bf-dropped"]
