//! Golden transcoding cases: `tests/wire/<client>-to-<upstream>/<case>/`, data only.
//!
//! | file | |
//! |---|---|
//! | `client_request.json` | given: the client's body |
//! | `case.json` | given, optional: `model`, `stream`, and what the target is like (`max_tokens_field`, `system_role`, `default_max_tokens`, `reasoning_field`, `json_schema`, `refuses`) |
//! | `upstream_request.json` | expected: the body sent upstream |
//! | `upstream.sse`, `upstream.frames.jsonl` | given: the streamed answer (AWS frames as lines of `{"event" or "exception": name, "data": {…}}`) |
//! | `upstream.json` | given: the whole answer |
//! | `upstream_error.json` | given: `{"status": 429, "body": …}` (a text body as a string) |
//! | `client.sse`, `client.frames.jsonl`, `client.json`, `client_error.json` | expected |
//! | `outcome.json` | expected: loss, refusal, usage, stop, fault |
//!
//! Each stream is read at every split point, byte by byte and whole, all equal; it is cut after
//! every frame, and must then have exactly one legal ending; what the client gets is read back
//! and must equal the whole answer where both are given.
//! `cargo test --test wire -- --bless` (or `BLESS=1`) writes the expectations, `-- --fidelity` the
//! table in `README.md`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::format_push_string, reason = "short texts, for a failure to show")]

#[path = "wire/fidelity.rs"]
mod fidelity;
#[path = "wire/identity.rs"]
mod identity;

use finops_gateway::chat::{Dialect, Event, Fault, Folded, Loss, Sequencer, Stop, Usage};
use finops_gateway::dialect::{self, Decoder, Manner, Reply, Transcoder, errors};
use finops_gateway::wire::frames::{Frame, Frames, Framing};
use finops_gateway::wire::{aws_event_stream, json_read, json_scan, sse};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What each of the 25 cells has, whatever else it has.
const LEAST: [&str; 18] = [
    "text",
    "unicode",
    "multi_turn_system",
    "tool_call",
    "parallel_tools",
    "empty_arguments",
    "tool_result_turn",
    "image",
    "document",
    "reasoning",
    "cached_usage",
    "stop_sequence",
    "length",
    "refusal",
    "structured_output",
    "error_before",
    "error_mid_stream",
    "truncated",
];

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire");

fn main() {
    let mut arguments: Vec<String> = std::env::args().collect();
    let bless = arguments.iter().any(|argument| argument == "--bless")
        || std::env::var_os("BLESS").is_some_and(|value| value != "0");
    let write = arguments.iter().any(|argument| argument == "--fidelity");
    arguments.retain(|argument| argument != "--bless" && argument != "--fidelity");
    let mut trials = vec![
        Trial::test("each cell has its least cases", least),
        Trial::test("the README's fidelity table", move || fidelity::check(write)),
    ];
    for pair in directories(Path::new(ROOT)) {
        let name = name_of(&pair);
        let Some((client, upstream)) = pair_of(&name) else {
            let message = format!("{name} is no <client>-to-<upstream>");
            trials.push(Trial::test(name, move || Err(message.into())));
            continue;
        };
        for dir in directories(&pair) {
            let case = Case { dir: dir.clone(), client, upstream, bless };
            trials.push(Trial::test(format!("{name}/{}", name_of(&dir)), move || case.run()));
        }
    }
    libtest_mimic::run(&Arguments::from_iter(arguments), trials).exit();
}

fn least() -> Result<(), Failed> {
    let pairs = Dialect::ALL.iter().flat_map(|client| {
        Dialect::ALL.iter().map(move |upstream| format!("{}-to-{}", client.name(), upstream.name()))
    });
    let missing: Vec<_> = pairs
        .flat_map(|pair| LEAST.map(|case| format!("{pair}/{case}")))
        .filter(|case| !Path::new(ROOT).join(case).join("client_request.json").is_file())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("without {}", missing.join(", ")).into()) }
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap();
    let mut all: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn pair_of(name: &str) -> Option<(Dialect, Dialect)> {
    let (client, upstream) = name.split_once("-to-")?;
    let find = |name| Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
    Some((find(client)?, find(upstream)?))
}

fn framing(dialect: Dialect) -> Framing {
    match dialect {
        Dialect::Bedrock => Framing::AwsEventStream,
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Gemini => {
            Framing::Sse
        }
    }
}

struct Case {
    dir: PathBuf,
    client: Dialect,
    upstream: Dialect,
    bless: bool,
}

/// What a case says of its answer, streamed or whole.
#[derive(Debug, PartialEq)]
struct Answer {
    usage: Usage,
    stop: Option<Stop<'static>>,
    fault: Option<Fault<'static>>,
}

impl Case {
    fn run(&self) -> Result<(), Failed> {
        if self.client == self.upstream {
            return self.identity();
        }
        let settings = self.read("case.json").map_or(Ok(Value::Null), |text| parse(&text))?;
        let mut outcome = Map::new();
        let reply = match self.read("client_request.json") {
            Some(body) => self.request(&body, &settings, &mut outcome)?,
            None => Some(reply_for("model-1", true, "")),
        };
        self.error()?;
        let Some(reply) = reply else { return self.expect_json("outcome.json", &outcome.into()) };
        let (whole, sent_whole) = self.whole(&reply)?;
        let streamed = self.streamed(&reply, sent_whole.as_deref())?;
        if let (Some(whole), Some(streamed)) = (&whole, &streamed) {
            equal("whole and streamed answer", &format!("{whole:#?}"), &format!("{streamed:#?}"))?;
        }
        if let Some(answer) = streamed.or(whole) {
            describe(&answer, &mut outcome);
        }
        self.expect_json("outcome.json", &outcome.into())
    }

    /// Transcodes the request; `None` if it is refused.
    fn request(
        &self,
        body: &str,
        settings: &Value,
        outcome: &mut Map<String, Value>,
    ) -> Result<Option<Reply>, Failed> {
        json_scan::validate(body.as_bytes(), json_scan::DEPTH_MAX)?;
        let mut loss = Loss::default();
        let mut out = Vec::new();
        let result =
            dialect::decode_request(self.client, body, &mut loss).and_then(|mut request| {
                if let Some(model) = settings["model"].as_str() {
                    request.model = model.to_owned().into();
                }
                if let Some(stream) = settings["stream"].as_bool() {
                    request.stream = stream;
                }
                let manner = manner(settings);
                dialect::encode_request(self.upstream, &request, &manner, &mut out, &mut loss)?;
                Ok(reply_for(&request.model, request.include_usage, body))
            });
        let lost = loss.entries().iter().map(|lost| format!("{}: {:?}", lost.path, lost.reason));
        outcome.insert("loss".to_owned(), lost.collect());
        match result {
            Ok(reply) => {
                json_scan::validate(&out, json_scan::DEPTH_MAX)?;
                let sent = parse(std::str::from_utf8(&out)?)?;
                self.expect_json("upstream_request.json", &sent)?;
                Ok(Some(reply))
            }
            Err(refused) => {
                outcome.insert("refused".to_owned(), refused.to_string().into());
                Ok(None)
            }
        }
    }

    fn error(&self) -> Result<(), Failed> {
        let Some(text) = self.read("upstream_error.json") else { return Ok(()) };
        let given = parse(&text)?;
        let status = u16::try_from(given["status"].as_u64().unwrap_or(0))?;
        let body = match &given["body"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let fault = errors::read(self.upstream, status, body.as_bytes());
        let mut out = Vec::new();
        errors::write(self.client, status, &fault, "req_1", &mut out);
        let body = parse(std::str::from_utf8(&out)?)?;
        let kind = format!("{:?}", fault.kind);
        let code = fault.code.as_deref();
        self.expect_json("client_error.json", &json!({"kind": kind, "code": code, "body": body}))
    }

    /// Transcodes the whole answer; gives what it says, and what the client is sent.
    fn whole(&self, reply: &Reply) -> Result<(Option<Answer>, Option<String>), Failed> {
        let Some(body) = self.read("upstream.json") else { return Ok((None, None)) };
        let folded = dialect::fold_message(self.upstream, &body);
        let mut sent = None;
        if folded.fault.is_none() {
            let mut out = Vec::new();
            dialect::encode_message(self.client, &folded, reply, &mut out);
            let text = String::from_utf8(out)?;
            self.expect_json("client.json", &parse(&text)?)?;
            sent = Some(text);
        }
        let Folded { usage, stop, fault, .. } = folded;
        Ok((Some(Answer { usage, stop, fault }), sent))
    }

    fn streamed(&self, reply: &Reply, whole: Option<&str>) -> Result<Option<Answer>, Failed> {
        let Some(frames) = self.upstream_frames()? else { return Ok(None) };
        let (bytes, transcoder) = self.transcode(reply, &frames);
        let said = Said::read(self.client, &bytes)?;
        said.check_ending(self.client, &transcoder)?;
        self.expect_stream(&bytes, &said)?;
        if let Some(whole) = whole {
            let whole = dialect::fold_message(self.client, whole);
            equal("folded stream and whole answer", &summary(&whole), &summary(&said.folded))?;
        }
        for cut in 0..frames.len() {
            let (bytes, transcoder) = self.transcode(reply, frames.get(..cut).unwrap_or(&[]));
            let said = Said::read(self.client, &bytes)?;
            said.check_ending(self.client, &transcoder)
                .map_err(|failed| format!("cut after {cut} frames: {failed:?}"))?;
            if transcoder.fault().is_none() && transcoder.stop().is_none() {
                return Err(format!("cut after {cut} frames: ended without a stop").into());
            }
        }
        Ok(Some(Answer {
            usage: transcoder.usage().clone(),
            stop: transcoder.stop().cloned().filter(|_| transcoder.fault().is_none()),
            fault: transcoder.fault().cloned(),
        }))
    }

    fn transcode(&self, reply: &Reply, frames: &[Owned]) -> (Vec<u8>, Transcoder) {
        let mut transcoder = Transcoder::new(self.upstream, self.client, reply.clone());
        let mut out = Frames::new(framing(self.client));
        for frame in frames {
            transcoder.feed(frame.borrow(), &mut out);
        }
        transcoder.finish(&mut out);
        let length = out.bytes().len();
        transcoder.feed(Frame { name: None, exception: false, data: "{}" }, &mut out);
        transcoder.finish(&mut out);
        assert_eq!(out.bytes().len(), length, "something was written after the ending");
        (out.take(Vec::new()), transcoder)
    }

    /// The upstream's frames, the same wherever its bytes are cut.
    fn upstream_frames(&self) -> Result<Option<Vec<Owned>>, Failed> {
        let bytes = if let Some(text) = self.read("upstream.sse") {
            text.into_bytes()
        } else if let Some(lines) = self.read("upstream.frames.jsonl") {
            aws_bytes(&lines)?
        } else {
            return Ok(None);
        };
        let framing = framing(self.upstream);
        let whole = split(framing, &[&bytes])?;
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        equal("byte by byte", &format!("{whole:#?}"), &format!("{:#?}", split(framing, &single)?))?;
        for at in 1..bytes.len() {
            let (left, right) = bytes.split_at(at);
            let cut = split(framing, &[left, right])?;
            if cut != whole {
                return Err(format!("cut at byte {at}: other frames").into());
            }
        }
        Ok(Some(whole))
    }

    fn expect_stream(&self, bytes: &[u8], said: &Said) -> Result<(), Failed> {
        match framing(self.client) {
            Framing::Sse => self.expect("client.sse", std::str::from_utf8(bytes)?),
            Framing::AwsEventStream | Framing::AwsInvokeChunks => {
                let lines = said.frames.iter().map(|frame| frame.line() + "\n");
                self.expect("client.frames.jsonl", &lines.collect::<String>())
            }
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(file)).ok()
    }

    fn expect_json(&self, file: &str, value: &Value) -> Result<(), Failed> {
        self.expect(file, &(serde_json::to_string_pretty(value)? + "\n"))
    }

    fn expect(&self, file: &str, actual: &str) -> Result<(), Failed> {
        if self.bless {
            fs::write(self.dir.join(file), actual)?;
            return Ok(());
        }
        equal(file, &self.read(file).ok_or_else(|| format!("{file} is missing"))?, actual)
    }
}

/// What the client reads of an answer.
struct Said {
    frames: Vec<Owned>,
    folded: Folded,
    /// How often the answer ended, by an end or by an error.
    endings: usize,
}

impl Said {
    fn read(client: Dialect, bytes: &[u8]) -> Result<Self, Failed> {
        let frames = split(framing(client), &[bytes])?;
        let mut folded = Folded::default();
        let mut endings = 0;
        let mut decoder = Decoder::new(client);
        let mut sequencer = Sequencer::new(dialect::closes_blocks(client));
        for frame in &frames {
            if frame.data != "[DONE]" {
                json_scan::validate(frame.data.as_bytes(), json_scan::DEPTH_MAX)?;
            }
            decoder.frame(frame.borrow(), &mut |event| {
                endings += usize::from(matches!(event, Event::End | Event::Error(_)));
                sequencer.push(event, &mut |event| folded.push(&event));
            });
        }
        sequencer.finish(&mut |event| folded.push(&event));
        Ok(Self { frames, folded, endings })
    }

    fn check_ending(&self, client: Dialect, transcoder: &Transcoder) -> Result<(), Failed> {
        if !transcoder.ended() {
            return Err("the answer has no ending".into());
        }
        // Gemini has no word for the end; its stream is over with the bytes.
        let legal = if client == Dialect::Gemini { 0..=1 } else { 1..=1 };
        if !legal.contains(&self.endings) {
            return Err(format!("the client sees {} endings", self.endings).into());
        }
        match (transcoder.fault(), &self.folded.fault) {
            (None, None) => Ok(()),
            (Some(sent), Some(seen)) if seen.message.contains(sent.message.as_ref()) => Ok(()),
            (sent, seen) => Err(format!("upstream fault {sent:?}, client sees {seen:?}").into()),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    name: Option<String>,
    exception: bool,
    data: String,
}

impl Owned {
    fn new(frame: Frame<'_>) -> Self {
        let Frame { name, exception, data } = frame;
        Self { name: name.map(str::to_owned), exception, data: data.to_owned() }
    }

    fn borrow(&self) -> Frame<'_> {
        Frame { name: self.name.as_deref(), exception: self.exception, data: &self.data }
    }

    fn line(&self) -> String {
        let key = if self.exception { "exception" } else { "event" };
        format!("{{\"{key}\":{},\"data\":{}}}", json!(self.name), self.data)
    }
}

fn split(framing: Framing, chunks: &[&[u8]]) -> Result<Vec<Owned>, Failed> {
    let mut frames = Vec::new();
    let mut each = |frame: Frame<'_>| frames.push(Owned::new(frame));
    match framing {
        Framing::Sse => {
            let mut splitter = sse::Splitter::new(1 << 24);
            for chunk in chunks {
                splitter.feed(chunk, &mut each)?;
            }
            splitter.finish(&mut each)?;
        }
        Framing::AwsEventStream | Framing::AwsInvokeChunks => aws_split(chunks, &mut each)?,
    }
    Ok(frames)
}

fn manner(settings: &Value) -> Manner {
    let leaked = |value: &Value| value.as_str().map(|text| &*text.to_owned().leak());
    let standard = Manner::standard();
    let refuses: Vec<&'static str> =
        settings["refuses"].as_array().into_iter().flatten().filter_map(leaked).collect();
    Manner {
        max_tokens_field: leaked(&settings["max_tokens_field"])
            .unwrap_or(standard.max_tokens_field),
        system_role: leaked(&settings["system_role"]).unwrap_or(standard.system_role),
        default_max_tokens: settings["default_max_tokens"]
            .as_u64()
            .unwrap_or(standard.default_max_tokens),
        reasoning_field: leaked(&settings["reasoning_field"]),
        json_schema: settings["json_schema"].as_bool().unwrap_or(standard.json_schema),
        refuses: refuses.leak(),
    }
}

fn reply_for(model: &str, include_usage: bool, body: &str) -> Reply {
    Reply {
        model: model.to_owned(),
        id: "0a1b2c3d".to_owned(),
        created: 1_700_000_000,
        latency_ms: 120,
        include_usage,
        request_body: body.to_owned(),
    }
}

fn describe(answer: &Answer, outcome: &mut Map<String, Value>) {
    let Usage { input, output, reasoning, cache_read, cache_write, .. } = answer.usage;
    let mut usage = Map::new();
    let counts = [
        ("input", input),
        ("output", output),
        ("reasoning", reasoning),
        ("cache_read", cache_read),
        ("cache_write", cache_write),
        ("cache_write_1h", answer.usage.cache_write_1h),
        ("input_audio", answer.usage.input_audio),
        ("output_audio", answer.usage.output_audio),
        ("web_searches", answer.usage.web_searches),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            usage.insert(name.to_owned(), count.into());
        }
    }
    if let Some(tier) = &answer.usage.service_tier {
        usage.insert("service_tier".to_owned(), tier.as_str().into());
    }
    outcome.insert("usage".to_owned(), usage.into());
    if let Some(stop) = &answer.stop {
        outcome.insert("stop".to_owned(), format!("{:?}", stop.reason).into());
        if let Some(sequence) = &stop.sequence {
            outcome.insert("stop_sequence".to_owned(), sequence.as_ref().into());
        }
    }
    if let Some(fault) = &answer.fault {
        let kind = format!("{:?}", fault.kind);
        let fault = json!({"kind": kind, "message": fault.message, "code": fault.code});
        outcome.insert("fault".to_owned(), fault);
    }
}

/// A folded answer as text, without what only one of its two forms can hold.
fn summary(folded: &Folded) -> String {
    let mut text = format!("id {}\nmodel {}\n", folded.id, folded.model);
    for block in &folded.blocks {
        let said = match block.block {
            // indented in a whole answer, as the expectations are
            finops_gateway::chat::Block::ToolUse { .. } => {
                let arguments = serde_json::from_str::<Value>(block.arguments());
                arguments.map_or_else(|_| block.text.clone(), |value| value.to_string())
            }
            _ => block.text.clone(),
        };
        text += &format!("{:?} {said:?} {:?}", block.block, block.seal);
        let citations = block.citations.iter().map(|raw| {
            let mut citation: Value = serde_json::from_str(raw).unwrap();
            // Its place in the list, which only a stream has to say.
            citation.as_object_mut().unwrap().shift_remove("index");
            citation
        });
        let citations: Vec<_> = citations.collect();
        // In one list or in many: the pieces of a stream are joined in a whole answer.
        let tokens = block.logprobs.iter().flat_map(|raw| json_read::items(raw));
        let tokens: Vec<Value> = tokens.map(|raw| serde_json::from_str(raw).unwrap()).collect();
        text += &format!(" {citations:?} {tokens:?} {}\n", block.raw);
    }
    text + &format!("{:?}\n{:?}\n{:#?}\n", folded.stop, folded.fault, folded.usage)
}

fn parse(text: &str) -> Result<Value, Failed> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}").into())
}

fn equal(what: &str, expected: &str, actual: &str) -> Result<(), Failed> {
    if expected == actual {
        return Ok(());
    }
    let mut lines = expected.lines().zip(actual.lines()).enumerate();
    let first = lines.find(|(_, (left, right))| left != right);
    let at = first.map_or_else(
        || format!("{} against {} lines", expected.lines().count(), actual.lines().count()),
        |(line, (left, right))| format!("line {}:\n- {left}\n+ {right}", line + 1),
    );
    Err(format!("{what} differs at {at}\n--- actual\n{actual}").into())
}

/// The frames of the lines, as the bytes of an AWS event stream.
fn aws_bytes(lines: &str) -> Result<Vec<u8>, Failed> {
    let mut frames = Frames::new(Framing::AwsEventStream);
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        parse(line)?;
        let data = json_read::field(line, "data").ok_or("a line without data")?;
        let buffer = if let Some(name) = json_read::text_field(line, "exception") {
            frames.exception(&name)
        } else {
            frames.begin(json_read::text_field(line, "event").as_deref())
        };
        buffer.extend_from_slice(data.as_bytes());
        frames.end();
    }
    Ok(frames.take(Vec::new()))
}

fn aws_split(chunks: &[&[u8]], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Failed> {
    let mut splitter = aws_event_stream::Splitter::new(1 << 24);
    for chunk in chunks {
        splitter.feed(chunk, each)?;
    }
    if splitter.at_boundary() { Ok(()) } else { Err("cut within a frame".into()) }
}
