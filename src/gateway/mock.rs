//! The provider `mock`: answers without any upstream, so that a newcomer sees everything work.
//!
//! In: a request as the hub's tree. Out: the [`Step`]s of an answer, which the gateway folds or
//! streams like any upstream's. `mock/echo` repeats the last user text word by word; it thinks first
//! when reasoning is asked for, and calls a tool when the text says `call NAME {arguments}` and a tool
//! of that name is offered (several such lines make parallel calls). Never: needs the network.

use std::borrow::Cow;
use std::time::Duration;

use super::account::Tally;
use super::exchange::Halt;
use super::failure::{Failure, request_id_header};
use super::ingress::Ask;
use super::own::unix_seconds;
use super::reply::Head;
use super::{Scene, Visit, request_of, say_for};
use crate::chat::{
    Block, Delta, Dialect, Event, Folded, Loss, PartKind, Request, Role, Seal, Sequencer, Stop,
    StopReason, Tool, Usage,
};
use crate::dialect::Reply;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::provider::{Operation, Provider};
use crate::wire::frames::Frames;

/// Answers a request without any upstream.
pub async fn serve(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &Incoming,
    ask: &Ask,
    (provider, model): (&Provider, &str),
    tally: &mut Tally,
) -> Result<(), Halt> {
    if !MODELS.contains(&model) {
        let message = format!("mock has no model {model}; it has: {}", MODELS.join(", "));
        return Err(Failure::not_found(message).into());
    }
    let mut loss = Loss::default();
    let mut request = request_of(visit, incoming, &mut loss)?;
    request.model = Cow::Borrowed(model);
    request.stream = ask.stream;
    tally.trail.head(200, visit.core.clock.since_start());
    let voice = visit.voice;
    let reply = Reply {
        model: model.to_owned(),
        id: visit.request_id.to_owned(),
        created: unix_seconds(),
        include_usage: request.include_usage,
        ..Reply::default()
    };
    let steps = answer(&request, visit.request_id);
    let mut folded = Folded::default();
    let mut sequencer = Sequencer::new(true);
    if !request.stream {
        for step in steps {
            sequencer.push(step.event, &mut |event| folded.push(&event));
        }
        tally.take_folded(&folded);
        let message = voice.message(&folded, &reply);
        return say_for(visit, client, "application/json", &message, &tally.trail).await;
    }
    let scene = Scene {
        terms: visit.terms,
        provider,
        voice,
        operation: Operation::Chat,
        client: visit.mount.dialect(),
        upstream: voice.dialect,
        stream: true,
        heartbeat: visit.snapshot.client.heartbeat,
        counters: &visit.core.counters,
        loss: &loss,
        usage_hidden: false,
    };
    let mut head = Head::new(visit.terms, 200);
    head.header("content-type", voice.stream_type().as_bytes())
        .header("cache-control", b"no-cache");
    head.header(request_id_header(voice.dialect), visit.request_id.as_bytes());
    scene.add_headers(&mut head, &tally.trail);
    let mut outlet = scene.outlet(head.with_chunks(), true);
    let mut encoder = voice.encoder(reply);
    let mut frames = Frames::new(voice.framing);
    for step in steps {
        if !step.pause.is_zero() {
            outlet.pause(client, step.pause).await?;
        }
        sequencer.push(step.event, &mut |event| {
            folded.push(&event);
            encoder.event(&event, &mut frames);
        });
        tally.events += 1;
        if !frames.is_empty() && !sequencer.ended() {
            outlet.send(client, frames.bytes()).await?;
            frames.clear();
        }
    }
    tally.take_folded(&folded);
    outlet.end(client, frames.bytes()).await
}

/// Between two words of a streamed answer, unless the model's name says otherwise.
const PACE: Duration = Duration::from_millis(15);

/// One event of the answer, after a pause.
#[derive(Debug)]
pub struct Step {
    pub pause: Duration,
    pub event: Event<'static>,
}

/// The models that `mock` offers.
pub const MODELS: [&str; 1] = ["echo"];

/// Makes the answer to `request`.
pub fn answer(request: &Request<'_>, id: &str) -> Vec<Step> {
    let said = last_user_text(request);
    let mut script = Script { steps: Vec::new(), slot: 0, output: 0 };
    let usage = Usage { input: Some(count(request)), ..Usage::default() };
    let start = Event::Start {
        id: Cow::Owned(format!("mock_{id}")),
        model: Cow::Owned(request.model.to_string()),
        usage,
    };
    script.push(Duration::ZERO, start);
    if wants_thinking(request) {
        script.think(&said);
    }
    let calls = calls(request, &said);
    if calls.is_empty() {
        let text = if said.is_empty() { "(nothing to repeat)" } else { &said };
        script.text(text);
    }
    for (index, (name, arguments)) in calls.iter().enumerate() {
        script.call(&format!("call_{id}_{index}"), name, arguments);
    }
    let reason = if calls.is_empty() { StopReason::EndTurn } else { StopReason::ToolUse };
    script.push(Duration::ZERO, Event::Stop(Stop::of(reason)));
    let usage = Usage { output: Some(script.output), ..Usage::default() };
    script.push(Duration::ZERO, Event::Usage(usage));
    script.push(Duration::ZERO, Event::End);
    script.steps
}

struct Script {
    steps: Vec<Step>,
    slot: u32,
    output: u64,
}

impl Script {
    fn push(&mut self, pause: Duration, event: Event<'static>) {
        self.steps.push(Step { pause, event });
    }

    fn block(&mut self, block: Block<'static>, deltas: impl Iterator<Item = Delta<'static>>) {
        let slot = self.slot;
        self.slot += 1;
        self.push(Duration::ZERO, Event::Open { slot, block });
        for delta in deltas {
            self.output += 1;
            self.push(PACE, Event::Delta { slot, delta });
        }
        self.push(Duration::ZERO, Event::Close { slot });
    }

    fn text(&mut self, text: &str) {
        let words = words(text);
        self.block(Block::Text, words.into_iter().map(|word| Delta::Text(Cow::Owned(word))));
    }

    fn think(&mut self, said: &str) {
        let thought = format!("The user says {} characters. I repeat them.", said.chars().count());
        let deltas = words(&thought).into_iter().map(|word| Delta::Thinking(Cow::Owned(word)));
        let data = Cow::Borrowed("bW9jay1zaWduYXR1cmU=");
        let seal = Seal { dialect: Dialect::Anthropic, data, id: None };
        self.block(Block::Thinking, deltas.chain(std::iter::once(Delta::Seal(seal))));
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let block =
            Block::ToolUse { id: Cow::Owned(id.to_owned()), name: Cow::Owned(name.to_owned()) };
        let pieces: Vec<_> = words(arguments);
        self.block(block, pieces.into_iter().map(|piece| Delta::Arguments(Cow::Owned(piece))));
    }
}

/// The text cut behind each space, so that the pieces join to the same text.
fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(ToOwned::to_owned).collect()
}

fn wants_thinking(request: &Request<'_>) -> bool {
    request.reasoning.as_ref().is_some_and(|reasoning| {
        let effort = reasoning.effort.as_deref();
        match reasoning.enabled {
            Some(enabled) => enabled,
            None => reasoning.adaptive || effort.is_some_and(|effort| effort != "none"),
        }
    })
}

fn last_user_text(request: &Request<'_>) -> String {
    let Some(turn) = request.turns.iter().rev().find(|turn| turn.role == Role::User) else {
        return String::new();
    };
    let mut texts = Vec::new();
    for part in &turn.parts {
        match &part.kind {
            // What clients put before the user's words by themselves.
            PartKind::Text { text, .. } if text.starts_with("<system-reminder>") => {}
            PartKind::Text { text, .. } => texts.push(text.to_string()),
            PartKind::ToolResult { content, .. } => {
                for inner in content {
                    if let PartKind::Text { text, .. } = &inner.kind {
                        texts.push(format!("The tool says: {text}"));
                    }
                }
            }
            _ => {}
        }
    }
    texts.join("\n")
}

/// Lines `call NAME {…}` whose tool is offered.
fn calls(request: &Request<'_>, said: &str) -> Vec<(String, String)> {
    let offered = |name: &str| {
        request.tools.iter().any(|tool| matches!(tool, Tool::Function(tool) if tool.name == name))
    };
    said.lines()
        .filter_map(|line| {
            let (name, arguments) = line.trim().strip_prefix("call ")?.split_once(' ')?;
            let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>;
            (offered(name) && is_object(arguments).is_ok())
                .then(|| (name.to_owned(), arguments.trim().to_owned()))
        })
        .collect()
}

fn count(request: &Request<'_>) -> u64 {
    crate::dialect::estimate_tokens(request)
}
