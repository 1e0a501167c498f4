"""Every endpoint beside a chat, as the real SDKs call it."""

import base64

import pytest
from beside_chats import AUDIO, VECTOR
from sdks import SDKS

OPENAI = [sdk for sdk in SDKS.values() if sdk.dialect == "openai"]
ANTHROPIC = [sdk for sdk in SDKS.values() if sdk.dialect == "anthropic"]
HELLO = {"file": "a.jsonl", "base64": base64.b64encode(b"hello").decode()}


@pytest.fixture(params=OPENAI, ids=lambda sdk: sdk.name)
def openai(request, drive, upstream):
    return caller(drive(request.param))


@pytest.fixture(params=ANTHROPIC, ids=lambda sdk: sdk.name)
def claude(request, drive, upstream):
    return caller(drive(request.param))


def caller(driver):
    def call(method: str, *args: str, **params: object) -> object:
        answer = driver.call("method", params, method=method, args=args)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    return call


@pytest.mark.parametrize("model", ["floats", "packed", "acme/floats"])
def test_embeddings(openai, model):
    """Asked for in base64 behind the user's back, and decoded so."""
    found = openai("embeddings.create", model=model, input=["a", "b"])
    assert [item["embedding"] for item in found["data"]] == [VECTOR, VECTOR]
    floats = openai("embeddings.create", model=model, input="a", encoding_format="float")
    assert floats["data"][0]["embedding"] == VECTOR


def test_speech(openai):
    spoken = openai("audio.speech.create", model="openai/tts", input="hi", voice="alloy")
    assert base64.b64decode(spoken["base64"]) == AUDIO


def test_transcription(openai, upstream):
    heard = openai("audio.transcriptions.create", model="openai/whisper-1", file=HELLO)
    assert heard["text"] == "heard"
    form = upstream.take_one().body
    assert b"hello" in form and b'filename="a.jsonl"' in form
    assert b"\r\n\r\nwhisper-1\r\n" in form and b"openai/" not in form


def test_images(openai):
    made = openai("images.generate", model="gpt-image-1", prompt="a cat")
    assert made["data"][0]["b64_json"] == "aGk="
    changed = openai("images.edit", model="openai/gpt-image-1", prompt="a cat", image=HELLO)
    assert changed["data"][0]["b64_json"] == "aGk="


def test_moderations(openai):
    assert openai("moderations.create", input="x")["model"] == "omni-moderation-latest"


def test_completions(openai):
    whole = openai("completions.create", model="m", prompt="x")
    assert whole["choices"][0]["text"] == "ab"
    pieces = openai("completions.create", model="openai/m", prompt="x", stream=True)
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == "ab"


def test_openai_files(openai, upstream):
    assert openai("files.create", file=HELLO, purpose="batch")["id"] == "file-1"
    assert b"hello" in upstream.take_one().body
    assert openai("files.list")[0]["id"] == "file-1"
    assert openai("files.retrieve", "file-1")["filename"] == "a.jsonl"
    assert base64.b64decode(openai("files.content", "file-1")["base64"]) == AUDIO
    assert openai("files.delete", "file-1")["deleted"]


def test_openai_batches(openai):
    made = openai(
        "batches.create",
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h",
    )
    assert made["id"] == "batch_1"
    assert openai("batches.list")[0]["id"] == "batch_1"
    assert openai("batches.retrieve", "batch_1")["status"] == "validating"
    assert openai("batches.cancel", "batch_1")["status"] == "cancelling"


def test_stored_responses(openai):
    assert openai("responses.retrieve", "resp_1")["status"] == "completed"
    assert openai("responses.input_items.list", "resp_1")[0]["id"] == "msg_1"
    assert openai("responses.cancel", "resp_1")["status"] == "cancelled"
    openai("responses.delete", "resp_1")


def test_message_batches(claude, gateway):
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    made = claude("messages.batches.create", requests=[{"custom_id": "one", "params": asked}])
    assert made["processing_status"] == "in_progress"
    batch = claude("messages.batches.retrieve", "msgbatch_1")
    assert batch["results_url"].startswith(f"{gateway.url}/anthropic/v1/messages/batches/")
    (result,) = claude("messages.batches.results", "msgbatch_1")
    assert result["result"]["message"]["content"][0]["text"] == "done"
    assert claude("messages.batches.list")[0]["id"] == "msgbatch_1"
    assert claude("messages.batches.cancel", "msgbatch_1")["processing_status"] == "canceling"
    assert claude("messages.batches.delete", "msgbatch_1")["type"] == "message_batch_deleted"


def test_claude_files(claude, upstream):
    assert claude("beta.files.upload", file=HELLO)["id"] == "file_1"
    assert b"hello" in upstream.take_one().body
    assert claude("beta.files.list")[0]["id"] == "file_1"
    assert claude("beta.files.retrieve_metadata", "file_1")["size_bytes"] == 5
    assert base64.b64decode(claude("beta.files.download", "file_1")["base64"]) == AUDIO
    assert claude("beta.files.delete", "file_1")["id"] == "file_1"
