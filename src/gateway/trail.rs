//! The trail of a request's attempts: where each one went, with which key, and what came of it.
//!
//! In: the begin and the end of each attempt, from `attempts`. Out: [`Attempt`]s for the record of
//! the request, and the response headers that say who answered: Bifrost's `x-bifrost-*`
//! (docs.getbifrost.ai/providers/response-headers), and `x-bf-attempts` for whoever asks with
//! `x-bf-trace: true`. Never: holds a secret; a key is named by its id and name.
//!
//! All texts stand in one string, so that a request's trail costs one allocation.

use super::failure::Failure;
use super::reply::Head;
use crate::provider::Key;
use smallvec::SmallVec;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// All attempts of one request, in their order.
#[derive(Debug, Default)]
pub struct Trail {
    /// The model that was asked for, then each step's texts.
    text: String,
    asked: usize,
    request_type: &'static str,
    steps: SmallVec<[Step; 1]>,
    /// The client wants to see it: `x-bf-trace: true`.
    shown: bool,
}

#[derive(Debug, Clone)]
struct Step {
    provider: Range<usize>,
    model: Range<usize>,
    key: Option<[Range<usize>; 2]>,
    target: usize,
    /// Since the worker's start.
    began: Duration,
    latency: Option<Duration>,
    status: u16,
    failure: Option<&'static str>,
    reason: Range<usize>,
    duration: Duration,
    wait: Duration,
}

/// One attempt, as the record shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'t> {
    pub provider: &'t str,
    /// As routing has it: before aliases.
    pub model: &'t str,
    pub key_id: Option<&'t str>,
    pub key_name: Option<&'t str>,
    /// 0 for the first target; a fallback's place in the list after that.
    pub target: usize,
    /// The upstream's, or that which its failure stands for; 0 where nobody answered because the
    /// client went away.
    pub status: u16,
    /// The kind of failure; `None` for an attempt that was answered.
    pub failure: Option<&'static str>,
    /// The failure in words.
    pub reason: &'t str,
    /// Up to the head of the upstream's answer.
    pub latency: Option<Duration>,
    /// Up to the end of the attempt.
    pub duration: Duration,
    /// The pause before the next one.
    pub wait: Duration,
}

/// Longer explanations are cut.
const REASON_MAX: usize = 512;

impl Trail {
    /// The model that was asked for.
    pub fn asked(&self) -> &str {
        self.text.get(..self.asked).unwrap_or_default()
    }

    /// Begins the trail of a request. `shown`: the client wants to see it.
    pub fn of(asked: &str, request_type: &'static str, shown: bool) -> Self {
        let mut text = String::with_capacity(asked.len() + 96);
        text.push_str(asked);
        Self { asked: text.len(), text, request_type, steps: SmallVec::new(), shown }
    }

    /// An attempt begins.
    pub fn begin(
        &mut self,
        (target, provider, model): (usize, &str, &str),
        key: Option<&Key>,
        now: Duration,
    ) {
        let (provider, model) = (self.note(provider), self.note(model));
        let key = key.map(|key| [self.note(&key.id), self.note(&key.name)]);
        self.steps.push(Step {
            provider,
            model,
            key,
            target,
            began: now,
            latency: None,
            status: 0,
            failure: None,
            reason: 0..0,
            duration: Duration::ZERO,
            wait: Duration::ZERO,
        });
    }

    /// The head of the upstream's answer is there.
    pub fn head(&mut self, status: u16, now: Duration) {
        if let Some(step) = self.steps.last_mut() {
            step.status = status;
            step.latency = Some(now.saturating_sub(step.began));
            step.duration = now.saturating_sub(step.began);
        }
    }

    /// The attempt ended, with an answer or because the client went away.
    pub fn end(&mut self, now: Duration) {
        if let Some(step) = self.steps.last_mut() {
            step.duration = now.saturating_sub(step.began);
        }
    }

    /// The attempt ended without an answer for the client.
    pub fn fail(&mut self, failure: &Failure, now: Duration) {
        self.end(now);
        let message = &*failure.fault.message;
        let end =
            (0..=REASON_MAX.min(message.len())).rev().find(|&at| message.is_char_boundary(at));
        let reason = self.note(message.get(..end.unwrap_or(0)).unwrap_or_default());
        if let Some(step) = self.steps.last_mut() {
            step.status = failure.status;
            step.failure = Some(failure.fault.kind.name());
            step.reason = reason;
        }
    }

    /// The pause before the next attempt.
    pub fn wait(&mut self, wait: Duration) {
        if let Some(step) = self.steps.last_mut() {
            step.wait = wait;
        }
    }

    /// How long the last attempt took up to the head of its answer.
    pub fn latency(&self) -> Option<Duration> {
        self.steps.last().and_then(|step| step.latency)
    }

    pub fn attempts(&self) -> impl DoubleEndedIterator<Item = Attempt<'_>> + ExactSizeIterator {
        self.steps.iter().map(|step| Attempt {
            provider: self.at(&step.provider),
            model: self.at(&step.model),
            key_id: step.key.as_ref().map(|[id, _]| self.at(id)),
            key_name: step.key.as_ref().map(|[_, name]| self.at(name)),
            target: step.target,
            status: step.status,
            failure: step.failure,
            reason: self.at(&step.reason),
            latency: step.latency,
            duration: step.duration,
            wait: step.wait,
        })
    }

    /// Writes the headers of an answer: who served it, and the trail for whoever asked for it.
    pub fn answered(&self, head: &mut Head<'_>) {
        self.say(self.attempts().next_back(), head);
    }

    /// Writes the headers of an error: of the attempt whose error it is, the last at the first
    /// target.
    pub fn failed(&self, head: &mut Head<'_>) {
        self.say(self.attempts().rev().find(|attempt| attempt.target == 0), head);
    }

    fn say(&self, served: Option<Attempt<'_>>, head: &mut Head<'_>) {
        if !self.request_type.is_empty() {
            head.header("x-bifrost-request-type", self.request_type.as_bytes());
        }
        let Some(served) = served else { return };
        head.header("x-bifrost-provider", served.provider.as_bytes());
        head.header("x-bifrost-original-model", self.at(&(0..self.asked)).as_bytes());
        head.header("x-bifrost-resolved-model", served.model.as_bytes());
        head.header("x-bifrost-routing-info-provider", served.provider.as_bytes());
        head.header("x-bifrost-routing-info-model", served.model.as_bytes());
        if let Some(name) = served.key_name {
            head.header("x-bifrost-routing-info-key", name.as_bytes());
        }
        if let (1.., Some(first)) = (served.target, self.attempts().next()) {
            let mut digits = itoa::Buffer::new();
            head.header("x-bifrost-fallback-index", digits.format(served.target).as_bytes());
            head.header("x-bifrost-routing-info-is-fallback", b"true");
            head.header("x-bifrost-routing-info-primary-provider", first.provider.as_bytes());
            head.header("x-bifrost-routing-info-primary-model", first.model.as_bytes());
        }
        let waited: Duration =
            self.steps.iter().map(|step| step.latency.unwrap_or(step.duration)).sum();
        head.header("x-bifrost-upstream-latency-ms", millis(waited).as_bytes());
        if self.shown {
            head.header("x-bf-attempts", self.listed().as_bytes());
        }
    }

    /// The trail as a structured field: a list of strings with parameters (RFC 9651).
    fn listed(&self) -> String {
        let mut out = String::new();
        for attempt in self.attempts() {
            let comma = if out.is_empty() { "" } else { ", " };
            let _never = write!(out, "{comma}\"{}/{}\"", attempt.provider, attempt.model);
            if let Some(name) = attempt.key_name {
                let _never = write!(out, ";key=\"{}\"", name.replace(['"', '\\'], "'"));
            }
            let _never = write!(out, ";status={}", attempt.status);
            if let Some(failure) = attempt.failure {
                let _never = write!(out, ";failure={failure}");
            }
            let _never = write!(out, ";ms={}", attempt.duration.as_millis());
            if !attempt.wait.is_zero() {
                let _never = write!(out, ";wait={}", attempt.wait.as_millis());
            }
        }
        out
    }

    fn note(&mut self, text: &str) -> Range<usize> {
        let from = self.text.len();
        self.text.push_str(text);
        from..self.text.len()
    }

    fn at(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

/// Milliseconds with three decimals.
fn millis(span: Duration) -> String {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let mut out = String::with_capacity(16);
    out.push_str(itoa::Buffer::new().format(micros / 1000));
    out.push('.');
    // A leading 1 keeps the zeros.
    out.push_str(itoa::Buffer::new().format(1000 + micros % 1000).get(1..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::reply::Terms;
    use crate::net::client_conn::Protocol;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two keys of the first target fail, the fallback answers.
    fn trail(shown: bool) -> Trail {
        let mut trail = Trail::of("gpt-4o", "chat_completion", shown);
        let limited = |status| {
            let kind = crate::chat::ErrorKind::of_status(status);
            Failure::new(status, kind, crate::gateway::failure::Whose::Upstream, "no more")
        };
        trail.begin((0, "openai", "gpt-4o"), Some(&Key::named("a")), ms(5));
        trail.head(429, ms(17));
        trail.fail(&limited(429), ms(18));
        trail.wait(ms(500));
        trail.begin((0, "openai", "gpt-4o"), Some(&Key::named("b\"b")), ms(520));
        trail.fail(&limited(502), ms(521));
        trail.begin((1, "anthropic", "claude"), None, ms(530));
        trail.head(200, ms(540));
        trail
    }

    fn headers(write: impl FnOnce(&mut Head<'_>)) -> Vec<(String, String)> {
        let terms = Terms {
            protocol: Protocol::Http11,
            keep_alive: true,
            head_only: false,
            preflight: None,
            always: Vec::new(),
            timing: None,
        };
        let mut head = Head::new(&terms, 200);
        write(&mut head);
        let text = String::from_utf8(head.with_length(0)).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn value<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
        headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    #[test]
    fn an_answer_names_who_gave_it_and_whom_it_replaced() {
        let said = headers(|head| trail(false).answered(head));
        assert_eq!(value(&said, "x-bifrost-provider"), Some("anthropic"));
        assert_eq!(value(&said, "x-bifrost-original-model"), Some("gpt-4o"));
        assert_eq!(value(&said, "x-bifrost-resolved-model"), Some("claude"));
        assert_eq!(value(&said, "x-bifrost-fallback-index"), Some("1"));
        assert_eq!(value(&said, "x-bifrost-routing-info-primary-provider"), Some("openai"));
        assert_eq!(value(&said, "x-bifrost-routing-info-key"), None);
        assert_eq!(value(&said, "x-bifrost-upstream-latency-ms"), Some("23.000"));
        assert_eq!(value(&said, "x-bf-attempts"), None, "only on request");
    }

    #[test]
    fn an_error_names_the_attempt_that_it_comes_from() {
        let said = headers(|head| trail(false).failed(head));
        assert_eq!(value(&said, "x-bifrost-provider"), Some("openai"));
        assert_eq!(value(&said, "x-bifrost-routing-info-key"), Some("b\"b"));
        assert_eq!(value(&said, "x-bifrost-fallback-index"), None);
        let none = headers(|head| Trail::of("m", "responses", true).failed(head));
        assert_eq!(value(&none, "x-bifrost-request-type"), Some("responses"));
        assert_eq!(value(&none, "x-bifrost-provider"), None);
    }

    #[test]
    fn the_trail_is_a_structured_field() {
        let said = headers(|head| trail(true).answered(head));
        let expected = "\"openai/gpt-4o\";key=\"a\";status=429;failure=rate_limit;ms=13;wait=500, \
                        \"openai/gpt-4o\";key=\"b'b\";status=502;failure=network;ms=1, \
                        \"anthropic/claude\";status=200;ms=10";
        assert_eq!(value(&said, "x-bf-attempts"), Some(expected));
    }

    #[test]
    fn a_long_explanation_is_cut_at_a_character() {
        let mut trail = trail(false);
        trail.fail(&Failure::invalid("ä".repeat(400)), ms(9));
        assert_eq!(trail.attempts().next_back().unwrap().reason.len(), REASON_MAX);
    }
}
