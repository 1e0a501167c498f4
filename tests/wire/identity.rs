//! Identity cells: the same dialect on both sides, so bytes go on as bytes.
//!
//! `upstream_request.json` is the client's text, byte for byte but for what is spliced; the answer is
//! the upstream's own. What is checked of it is that the tap reads the same as the decoder does,
//! and that a cut stream is not taken for one that ended.

use super::{Answer, Case, describe, equal, name_of, parse, reply_for};
use finops_gateway::chat::{Dialect, Loss};
use finops_gateway::dialect::{Tap, Transcoder, errors};
use finops_gateway::gateway::ingress::Spans;
use finops_gateway::gateway::outgoing::{Course, identity_body};
use finops_gateway::provider::{Operation, Provider, catalog, endpoint};
use finops_gateway::wire::frames::Frames;
use finops_gateway::wire::json_scan;
use libtest_mimic::Failed;
use serde_json::{Map, Value, json};

impl Case {
    pub fn identity(&self) -> Result<(), Failed> {
        let settings = self.read("case.json").map_or(Ok(Value::Null), |text| parse(&text))?;
        let mut outcome = Map::new();
        if let Some(body) = self.read("client_request.json") {
            self.identity_request(&body, &settings, &mut outcome)?;
        }
        self.identity_error()?;
        let streamed = self.identity_stream()?;
        let whole = self.read("upstream.json").map(|body| {
            let mut tap = Tap::new(self.upstream);
            tap.message(&body);
            answer_of(&tap)
        });
        if let (Some(whole), Some(streamed)) = (&whole, &streamed) {
            equal("whole and streamed answer", &format!("{whole:#?}"), &format!("{streamed:#?}"))?;
        }
        if let Some(answer) = streamed.or(whole) {
            describe(&answer, &mut outcome);
        }
        self.expect_json("outcome.json", &outcome.into())
    }

    fn identity_request(
        &self,
        body: &str,
        settings: &Value,
        outcome: &mut Map<String, Value>,
    ) -> Result<(), Failed> {
        let [model, stream] =
            json_scan::scan(body.as_bytes(), json_scan::DEPTH_MAX, &["model", "stream"])?;
        let spans = Spans { model, stream, ..Spans::default() };
        let given = parse(body)?;
        let named = settings["model"].as_str().or_else(|| given["model"].as_str()).unwrap_or("m");
        let provider = provider_of(self.upstream)?;
        let course = Course {
            endpoint: endpoint::resolve(
                &provider,
                None,
                Operation::Chat,
                self.client,
                named,
                settings["stream"].as_bool() == Some(true),
            )?,
            provider: &provider,
            key: None,
            direct: None,
            lease: None,
            metered: false,
            operation: Operation::Chat,
            model: named,
            query: "",
            absolute: false,
            stream: given["stream"] == true,
            betas: String::new(),
        };
        let mut loss = Loss::default();
        let sent = identity_body(&course, &spans, None, body.as_bytes(), (&mut loss, false))
            .map_err(|failure| format!("{}: {failure:?}", name_of(&self.dir)))?;
        let sent = sent.map_or_else(|| Ok(body.to_owned()), String::from_utf8)?;
        parse(&sent)?;
        self.expect("upstream_request.json", &sent)?;
        let lost = loss.entries().iter().map(|lost| format!("{}: {:?}", lost.path, lost.reason));
        outcome.insert("loss".to_owned(), lost.collect());
        Ok(())
    }

    /// An error goes to the client as it came; the gateway reads its kind for the retry.
    fn identity_error(&self) -> Result<(), Failed> {
        let Some(text) = self.read("upstream_error.json") else { return Ok(()) };
        let given = parse(&text)?;
        let status = u16::try_from(given["status"].as_u64().unwrap_or(0))?;
        let fault = errors::read(self.upstream, status, given["body"].to_string().as_bytes());
        let kind = format!("{:?}", fault.kind);
        let seen = json!({"kind": kind, "code": fault.code.as_deref(), "body": given["body"]});
        self.expect_json("client_error.json", &seen)
    }

    fn identity_stream(&self) -> Result<Option<Answer>, Failed> {
        let Some(frames) = self.upstream_frames()? else { return Ok(None) };
        let mut whole = None;
        for cut in 0..=frames.len() {
            let mut tap = Tap::new(self.upstream);
            let reply = reply_for("model-1", true, "");
            let mut transcoder = Transcoder::new(self.upstream, self.client, reply);
            let mut out = Frames::new(super::framing(self.client));
            for frame in frames.iter().take(cut) {
                tap.frame(frame.borrow());
                transcoder.feed(frame.borrow(), &mut out);
            }
            let ended = tap.saw_end() || tap.fault().is_some();
            let over = transcoder.stop().is_some() || transcoder.fault().is_some();
            if ended != over {
                return Err(format!("cut after {cut} frames: the tap says {ended}").into());
            }
            tap.finish();
            transcoder.finish(&mut out);
            let (tapped, read) = (format!("{:?}", tap.usage()), transcoder.usage());
            equal(&format!("usage after {cut} frames"), &format!("{read:?}"), &tapped)?;
            whole = Some(answer_of(&tap));
        }
        Ok(whole)
    }
}

fn answer_of(tap: &Tap) -> Answer {
    Answer {
        usage: tap.usage().clone(),
        stop: tap.stop().cloned().filter(|_| tap.fault().is_none()),
        fault: tap.fault().cloned(),
    }
}

/// The vendor of a language.
fn provider_of(dialect: Dialect) -> Result<Provider, Failed> {
    let name = match dialect {
        Dialect::Anthropic => "anthropic",
        Dialect::OpenAiChat | Dialect::OpenAiResponses => "openai",
        Dialect::Bedrock => "bedrock",
        Dialect::Gemini => "gemini",
    };
    let mut provider = Provider::of(catalog::row(name).ok_or(name)?);
    if dialect == Dialect::Bedrock {
        provider.origin = endpoint::bedrock_origin("us-east-1");
    }
    Ok(provider)
}
