//! The fidelity table of the README: what each direction carries, says otherwise, or reports.
//!
//! In: `fidelity.json` (for each kind of content a request in each language that has a word for
//! it) and the whole answers of all cases. Out: two tables. A kind that neither reaches the
//! upstream's body nor is reported fails here: nothing is lost in silence.
//! `cargo test --test wire -- --fidelity` writes the tables into `README.md`.

use super::{ROOT, directories, equal, name_of, pair_of, parse, reply_for};
use finops_gateway::chat::{Block, Dialect, Folded, Loss, Reason, StopReason};
use finops_gateway::dialect::{self, Manner};
use finops_gateway::wire::json_read;
use libtest_mimic::Failed;
use serde_json::Value;
use std::fs;
use std::path::Path;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str = "<!-- fidelity: written by `cargo test --test wire -- --fidelity` -->\n";
const END: &str = "<!-- /fidelity -->\n";

/// Fails when the README's tables are not those of the code; writes them if `write`.
pub fn check(write: bool) -> Result<(), Failed> {
    let table = format!("{BEGIN}\n{}\n{}\n{END}", requests()?, answers()?);
    let readme = fs::read_to_string(README)?;
    let (before, rest) = readme.split_once(BEGIN).ok_or("README.md has no begin of the table")?;
    let (old, after) = rest.split_once(END).ok_or("README.md has no end of the table")?;
    if write {
        fs::write(README, format!("{before}{table}{after}"))?;
        return Ok(());
    }
    equal("README.md", &format!("{BEGIN}{old}{END}"), &table)
}

/// A model of each upstream; the second one where a kind needs one that reasons.
const fn model(upstream: Dialect, reasons: bool) -> &'static str {
    match upstream {
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::OpenAiChat | Dialect::OpenAiResponses if reasons => "gpt-5-mini",
        Dialect::OpenAiChat | Dialect::OpenAiResponses => "gpt-4.1",
        Dialect::Bedrock => "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Dialect::Gemini => "gemini-2.5-pro",
    }
}

fn head(first: &str) -> String {
    let names: Vec<_> = Dialect::ALL.iter().map(|client| client.name()).collect();
    format!("| {first} | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

fn requests() -> Result<String, Failed> {
    let all = parse(&fs::read_to_string(Path::new(ROOT).join("fidelity.json"))?)?;
    let mut table = head("in a request");
    let mut silent = Vec::new();
    for kind in all["kinds"].as_array().ok_or("no kinds")? {
        let name = kind["kind"].as_str().ok_or("a kind without a name")?;
        table += &format!("| {name} |");
        for client in Dialect::ALL {
            if kind[client.name()].is_null() {
                table += " |";
                continue;
            }
            table += " `";
            for upstream in Dialect::ALL {
                let mark = fate(&all, kind, client, upstream)?;
                if mark == '!' {
                    silent.push(format!("{name}: {}-to-{}", client.name(), upstream.name()));
                }
                table.push(mark);
            }
            table += "` |";
        }
        table.push('\n');
    }
    if silent.is_empty() {
        Ok(table)
    } else {
        Err(format!("lost in silence:\n{}", silent.join("\n")).into())
    }
}

/// What becomes of a kind of content on its way from `client` to `upstream`.
fn fate(all: &Value, kind: &Value, client: Dialect, upstream: Dialect) -> Result<char, Failed> {
    if client == upstream {
        return Ok('=');
    }
    let with = body(all, &kind[client.name()], client);
    let without = match kind["on"].as_str() {
        Some(on) => {
            let kinds = all["kinds"].as_array().ok_or("no kinds")?;
            let under = kinds.iter().find(|kind| kind["kind"] == on).ok_or("no such kind")?;
            body(all, &under[client.name()], client)
        }
        None => body(all, &Value::Null, client),
    };
    let model = model(upstream, kind["reasons"] == true);
    let (plain, known) = said(&without, client, upstream, model);
    let (sent, lost) = said(&with, client, upstream, model);
    let (Ok(plain), Ok(sent)) = (plain, sent) else { return Ok('x') };
    let new: Vec<_> =
        lost.entries().iter().filter(|lost| !known.entries().contains(lost)).collect();
    let otherwise = new.iter().all(|lost| lost.reason == Reason::Approximated);
    Ok(match (new.is_empty(), plain == sent) {
        (true, true) if kind["default"] == true => '+',
        (true, true) => '!',
        (true, false) => '+',
        (false, false) => '~',
        (false, true) if otherwise => '~',
        (false, true) => '-',
    })
}

/// The base body with the members of `patch`.
fn body(all: &Value, patch: &Value, client: Dialect) -> String {
    let mut body = all["base"][client.name()].clone();
    for (name, value) in patch.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn said(
    body: &str,
    client: Dialect,
    upstream: Dialect,
    model: &'static str,
) -> (Result<Value, Failed>, Loss) {
    let mut loss = Loss::default();
    let mut out = Vec::new();
    let result = dialect::decode_request(client, body, &mut loss).and_then(|mut request| {
        request.model = model.into();
        let manner = Manner::standard();
        dialect::encode_request(upstream, &request, &manner, &mut out, &mut loss)
    });
    let sent = result
        .map_err(|refused| refused.to_string().into())
        .and_then(|()| parse(&String::from_utf8_lossy(&out)));
    (sent, loss)
}

/// What an answer may hold: its name, and all that is said of it, to be compared.
type Aspect = (&'static str, fn(&Folded) -> Vec<String>);

const ASPECTS: [Aspect; 22] = [
    ("text", |f| texts(f, |block| matches!(block, Block::Text))),
    ("tool calls: ids, names, arguments", calls),
    ("reasoning text", |f| texts(f, |block| matches!(block, Block::Thinking))),
    ("reasoning: signatures, encrypted content", seals),
    ("refusal", |f| texts(f, |block| matches!(block, Block::Refusal))),
    ("citations", |f| {
        f.blocks
            .iter()
            .filter(|b| !b.citations.is_empty())
            .map(|b| b.citations.len().to_string())
            .collect()
    }),
    ("log-probabilities", |f| {
        let all = f.blocks.iter().flat_map(|block| &block.logprobs);
        let tokens = all.flat_map(|raw| json_read::items(raw));
        tokens.map(|raw| serde_json::from_str::<Value>(raw).unwrap().to_string()).collect()
    }),
    ("calls that the vendor ran", |f| {
        let raw = |block: &Block<'_>| matches!(block, Block::Opaque { .. });
        f.blocks.iter().filter(|b| raw(&b.block)).map(|b| b.raw.clone()).collect()
    }),
    ("stop: end of turn", |f| stop(f, StopReason::EndTurn)),
    ("stop: tool use", |f| stop(f, StopReason::ToolUse)),
    ("stop: length", |f| stop(f, StopReason::MaxTokens)),
    ("stop: stop sequence", |f| stop(f, StopReason::StopSequence)),
    ("which stop sequence", |f| {
        f.stop.iter().filter_map(|stop| stop.sequence.as_ref()).map(ToString::to_string).collect()
    }),
    ("stop: refusal", |f| stop(f, StopReason::Refusal)),
    ("stop: filter, guardrail", |f| stop(f, StopReason::ContentFilter)),
    ("stop: context window", |f| stop(f, StopReason::ContextWindow)),
    ("tokens in and out", |f| {
        vec![format!("{} {}", f.usage.prompt(), f.usage.output.unwrap_or(0))]
    }),
    ("tokens read from the cache", |f| count(f.usage.cache_read)),
    ("tokens written to the cache", |f| count(f.usage.cache_write)),
    ("of these, for an hour", |f| count(f.usage.cache_write_1h)),
    ("reasoning tokens", |f| count(f.usage.reasoning)),
    ("service tier", |f| f.usage.service_tier.iter().cloned().collect()),
];

fn texts(folded: &Folded, is: fn(&Block<'_>) -> bool) -> Vec<String> {
    let said = folded.blocks.iter().filter(|block| is(&block.block) && !block.text.is_empty());
    let all: String = said.map(|block| block.text.as_str()).collect();
    if all.is_empty() { Vec::new() } else { vec![all] }
}

fn calls(folded: &Folded) -> Vec<String> {
    let call = |block: &finops_gateway::chat::FoldedBlock| match &block.block {
        Block::ToolUse { id, name } => {
            let arguments = serde_json::from_str::<Value>(block.arguments()).ok()?;
            Some(format!("{id} {name} {arguments}"))
        }
        _ => None,
    };
    folded.blocks.iter().filter_map(call).collect()
}

fn seals(folded: &Folded) -> Vec<String> {
    let seal = |block: &finops_gateway::chat::FoldedBlock| match (&block.block, &block.seal) {
        (Block::Redacted(_), _) | (_, Some(_)) => Some("sealed".to_owned()),
        _ => None,
    };
    // How a foreign seal is wrapped is tested in `dialect::seal`; here it is counted.
    folded.blocks.iter().filter_map(seal).collect()
}

fn stop(folded: &Folded, reason: StopReason) -> Vec<String> {
    let stop = folded.stop.iter().filter(|stop| stop.reason == reason);
    stop.map(|stop| format!("{:?}", stop.reason)).collect()
}

fn count(count: Option<u64>) -> Vec<String> {
    count.filter(|count| *count > 0).map(|count| count.to_string()).into_iter().collect()
}

fn answers() -> Result<String, Failed> {
    let mut table = head("in an answer");
    let samples: Vec<(Dialect, Folded)> = samples()?;
    for (name, aspect) in ASPECTS {
        table += &format!("| {name} |");
        for client in Dialect::ALL {
            table += " `";
            for upstream in Dialect::ALL {
                let of = samples.iter().filter(|(dialect, _)| *dialect == upstream);
                let fates: String =
                    of.filter_map(|(_, folded)| kept(folded, client, (name, aspect))).collect();
                table.push(match fates.as_str() {
                    "" => ' ',
                    _ if client == upstream => '=',
                    all if all.chars().all(|mark| mark == '+') => '+',
                    all if all.chars().all(|mark| mark == '-') => '-',
                    _ => '~',
                });
            }
            table += "` |";
        }
        table.push('\n');
    }
    Ok(table)
}

/// What the client reads of what the upstream said; `None` if it said nothing of the kind.
fn kept(folded: &Folded, client: Dialect, (name, aspect): Aspect) -> Option<char> {
    let said = aspect(folded);
    if said.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    dialect::encode_message(client, folded, &reply_for("model-1", true, ""), &mut out);
    let out = std::str::from_utf8(&out).ok()?;
    let read = aspect(&dialect::fold_message(client, out));
    // An answer always says why it stopped, if in other words.
    let there = name.starts_with("stop:")
        || !read.is_empty()
        || said.iter().all(|said| said.len() > 6 && out.contains(said.as_str()));
    Some(match (read == said, there) {
        (true, _) => '+',
        (false, true) => '~',
        (false, false) => '-',
    })
}

/// The whole answers of all cases, each once.
fn samples() -> Result<Vec<(Dialect, Folded)>, Failed> {
    let mut bodies: Vec<(Dialect, String)> = Vec::new();
    for pair in directories(Path::new(ROOT)) {
        let Some((_, upstream)) = pair_of(&name_of(&pair)) else { continue };
        for case in directories(&pair) {
            if let Ok(body) = fs::read_to_string(case.join("upstream.json")) {
                bodies.push((upstream, body));
            }
        }
    }
    bodies.sort();
    bodies.dedup();
    let folded = bodies.iter().map(|(upstream, body)| {
        let folded = dialect::fold_message(*upstream, body);
        (*upstream, folded)
    });
    let all: Vec<_> = folded.filter(|(_, folded)| folded.fault.is_none()).collect();
    if all.is_empty() { Err("no answers".into()) } else { Ok(all) }
}
