//! A request as a borrowed tree: turns, parts, tools, parameters.
//!
//! In: built by a dialect's request decoder from the client's bytes, borrowing from them.
//! Out: walked by another dialect's request encoder, which must look ahead (system hoisting, role
//! alternation, merging of tool results); that is why requests are a tree and responses events.
//! Never: parses or writes JSON. Schemas, tool arguments and numbers are [`Raw`] slices, so key
//! order and the digits the client wrote survive.

use super::{Dialect, Loss, Reason};
use std::borrow::Cow;
use std::fmt;

/// One JSON value, exactly as its sender wrote it (no surrounding white space).
pub type Raw<'a> = &'a str;

/// A whole chat request, independent of the language it came in.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Which language it was read from.
    pub from: Dialect,
    /// How that language calls the hub's fields, for the loss report.
    pub names: &'static FieldNames,
    /// The model as it goes upstream (provider prefix already taken off by the router).
    pub model: Cow<'a, str>,
    pub stream: bool,
    /// OpenAI Chat `stream_options.include_usage`; other languages always say usage.
    pub include_usage: bool,
    /// Leading instructions, in order.
    pub system: Vec<Part<'a>>,
    pub turns: Vec<Turn<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice<'a>>,
    /// `Some(false)` forbids several tool calls in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// The most tokens to answer with, reasoning included.
    pub max_tokens: Option<u64>,
    pub temperature: Option<Raw<'a>>,
    pub top_p: Option<Raw<'a>>,
    pub top_k: Option<Raw<'a>>,
    pub seed: Option<Raw<'a>>,
    pub frequency_penalty: Option<Raw<'a>>,
    pub presence_penalty: Option<Raw<'a>>,
    /// How many answers; only 1 can be said in every language.
    pub n: Option<Raw<'a>>,
    /// Whether log-probabilities are wanted, and of how many alternatives.
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<Raw<'a>>,
    pub stop: Vec<Cow<'a, str>>,
    pub reasoning: Option<Reasoning<'a>>,
    pub format: Option<Format<'a>>,
    /// The end user, opaque (`metadata.user_id`, `user`).
    pub user: Option<Cow<'a, str>>,
    /// Free key-value metadata, a raw JSON object (OpenAI `metadata`, Bedrock `requestMetadata`).
    pub metadata: Option<Raw<'a>>,
    pub service_tier: Option<Cow<'a, str>>,
    /// OpenAI `prompt_cache_key`.
    pub prompt_cache_key: Option<Cow<'a, str>>,
    /// OpenAI `verbosity` / `text.verbosity`.
    pub verbosity: Option<Cow<'a, str>>,
    /// Top-level fields without a hub name. An encoder says those it knows and reports the rest.
    pub extras: Vec<Extra<'a>>,
}

impl<'a> Request<'a> {
    /// An empty request read from `from`, whose fields are called `names`.
    pub fn new(from: Dialect, names: &'static FieldNames) -> Self {
        Self {
            from,
            names,
            model: Cow::Borrowed(""),
            stream: false,
            include_usage: false,
            system: Vec::new(),
            turns: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            seed: None,
            frequency_penalty: None,
            presence_penalty: None,
            n: None,
            logprobs: None,
            top_logprobs: None,
            stop: Vec::new(),
            reasoning: None,
            format: None,
            user: None,
            metadata: None,
            service_tier: None,
            prompt_cache_key: None,
            verbosity: None,
            extras: Vec::new(),
        }
    }

    /// The name of the function that the tool call `id` called, from the turns before.
    pub fn tool_name_of(&self, id: &str) -> Option<&str> {
        self.turns.iter().flat_map(|turn| &turn.parts).find_map(|part| match &part.kind {
            PartKind::ToolUse { id: used, name, .. } if used == id => Some(name.as_ref()),
            _ => None,
        })
    }

    /// Reports every extra for which `said` is false: the last thing a request encoder does.
    pub fn report_extras(&self, loss: &mut Loss, said: impl Fn(&Extra<'_>) -> bool) {
        for extra in self.extras.iter().filter(|extra| !said(extra)) {
            loss.push(extra.name.as_ref(), Reason::Unsupported);
        }
    }

    /// The extra called `name`, of the language `dialect`.
    pub fn extra(&self, dialect: Dialect, name: &str) -> Option<Raw<'a>> {
        (self.from == dialect)
            .then(|| self.extras.iter().find(|extra| extra.name == name))
            .flatten()
            .map(|extra| extra.raw)
    }
}

/// How one language calls the hub's fields; what the client reads in `x-bf-dropped`.
#[derive(Debug)]
pub struct FieldNames {
    pub system: &'static str,
    pub tools: &'static str,
    pub tool_choice: &'static str,
    pub parallel_tool_calls: &'static str,
    pub max_tokens: &'static str,
    pub temperature: &'static str,
    pub top_p: &'static str,
    pub top_k: &'static str,
    pub seed: &'static str,
    pub frequency_penalty: &'static str,
    pub presence_penalty: &'static str,
    pub n: &'static str,
    pub logprobs: &'static str,
    pub top_logprobs: &'static str,
    pub stop: &'static str,
    pub reasoning: &'static str,
    pub reasoning_effort: &'static str,
    pub reasoning_budget: &'static str,
    pub reasoning_summary: &'static str,
    pub format: &'static str,
    pub user: &'static str,
    pub metadata: &'static str,
    pub service_tier: &'static str,
    pub prompt_cache_key: &'static str,
    pub verbosity: &'static str,
}

/// A top-level field that the hub has no name for.
#[derive(Debug, Clone)]
pub struct Extra<'a> {
    pub name: Cow<'a, str>,
    pub raw: Raw<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    /// Instructions in the middle of the conversation.
    System,
}

/// One message of the conversation. Tool results are parts of a user turn.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    pub place: Place,
    pub role: Role,
    /// OpenAI's `name` of the speaker.
    pub name: Option<Cow<'a, str>>,
    pub parts: Vec<Part<'a>>,
}

/// One piece of a turn.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    pub place: Place,
    pub kind: PartKind<'a>,
    /// The sender marks the prompt up to here as worth caching.
    pub cache: Option<CacheHint<'a>>,
    /// Signed or encrypted data that belongs to this part (a thinking signature, Gemini's
    /// `thoughtSignature` on a call): only the language it came from can use it.
    pub seal: Option<Seal<'a>>,
}

impl<'a> Part<'a> {
    pub fn new(place: Place, kind: PartKind<'a>) -> Self {
        Self { place, kind, cache: None, seal: None }
    }
}

#[derive(Debug, Clone)]
pub enum PartKind<'a> {
    Text {
        text: Cow<'a, str>,
        /// Citations or annotations, raw, in the language of `Request::from`.
        citations: Option<Raw<'a>>,
    },
    Image(Media<'a>),
    Document(Media<'a>),
    Audio(Media<'a>),
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        /// The arguments as JSON text (an object as a rule; whatever the model wrote).
        arguments: Cow<'a, str>,
    },
    ToolResult {
        /// Of the call that it answers; empty in a language that pairs by name (Gemini without ids).
        id: Cow<'a, str>,
        name: Option<Cow<'a, str>>,
        is_error: bool,
        content: Vec<Part<'a>>,
    },
    /// Reasoning in plain text; its signature is the part's seal.
    Thinking {
        text: Cow<'a, str>,
    },
    /// Reasoning that only its vendor can read: the part's seal.
    Redacted,
    Refusal {
        text: Cow<'a, str>,
    },
    /// A block that the hub has no name for (server tools, tool references), as it was written.
    /// `kind` is its type name in the language of `Request::from`.
    Opaque {
        kind: Cow<'a, str>,
        raw: Raw<'a>,
    },
}

/// An image, a document or a sound.
#[derive(Debug, Clone)]
pub struct Media<'a> {
    pub source: Source<'a>,
    /// File name or title.
    pub name: Option<Cow<'a, str>>,
    /// OpenAI's `detail` of an image.
    pub detail: Option<Cow<'a, str>>,
    /// Anthropic's `context` of a document.
    pub context: Option<Cow<'a, str>>,
    /// Whether citations are wanted for a document.
    pub citations: bool,
}

impl<'a> Media<'a> {
    pub fn new(source: Source<'a>) -> Self {
        Self { source, name: None, detail: None, context: None, citations: false }
    }
}

#[derive(Debug, Clone)]
pub enum Source<'a> {
    Base64 {
        /// `image/png`, `application/pdf`, `audio/wav` …
        media_type: Cow<'a, str>,
        data: Cow<'a, str>,
    },
    Url {
        url: Cow<'a, str>,
        media_type: Option<Cow<'a, str>>,
    },
    /// The id of an uploaded file, known only to the vendor it was uploaded to.
    File {
        id: Cow<'a, str>,
    },
    /// A document given as plain text.
    Text {
        text: Cow<'a, str>,
    },
    /// A document given as parts (Anthropic `content` source).
    Parts(Vec<Part<'a>>),
}

/// A prompt-cache breakpoint (Anthropic `cache_control`, Bedrock `cachePoint`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheHint<'a> {
    /// `5m` or `1h`; absent means the vendor's default.
    pub ttl: Option<Cow<'a, str>>,
}

/// Opaque data that only speakers of one language can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal<'a> {
    pub dialect: Dialect,
    pub data: Cow<'a, str>,
    /// The vendor's id of the sealed item (Responses reasoning items need theirs back).
    pub id: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone)]
pub enum Tool<'a> {
    Function(FunctionTool<'a>),
    /// A tool that the vendor runs, as it was written; `kind` is its type name.
    Hosted {
        place: Place,
        kind: Cow<'a, str>,
        raw: Raw<'a>,
    },
}

#[derive(Debug, Clone)]
pub struct FunctionTool<'a> {
    pub place: Place,
    pub name: Cow<'a, str>,
    pub description: Option<Cow<'a, str>>,
    /// A JSON Schema object in its original key order; absent when the sender gave none.
    pub schema: Option<Raw<'a>>,
    pub strict: Option<bool>,
    pub cache: Option<CacheHint<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    Auto,
    None,
    /// At least one call, of any tool (`required`, `any`).
    Required,
    Named(Cow<'a, str>),
}

/// How much the model should reason. All absent with `enabled: Some(false)` means: not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning<'a> {
    /// `Some(true)`: asked for; `Some(false)`: refused; `None`: only an effort was named.
    pub enabled: Option<bool>,
    /// The vendor decides how much (Anthropic `adaptive`).
    pub adaptive: bool,
    /// `none` `minimal` `low` `medium` `high` `xhigh` `max`, as written.
    pub effort: Option<Cow<'a, str>>,
    pub budget_tokens: Option<u64>,
    /// Whether and how the reasoning is shown (`summary`, `display`, `includeThoughts`), as written.
    pub summary: Option<Cow<'a, str>>,
}

/// The form that the answer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format<'a> {
    Text,
    JsonObject,
    JsonSchema {
        name: Option<Cow<'a, str>>,
        description: Option<Cow<'a, str>>,
        /// A JSON Schema object; owned where its language writes it as JSON inside a string.
        schema: Cow<'a, str>,
        strict: Option<bool>,
    },
}

/// Where something stood in the client's body, printed as its JSON path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The top-level array or field: `messages`, `system`, `tools`, `input`, `contents`.
    pub list: &'static str,
    /// Its index there; `None` when the field is not an array.
    pub item: Option<u32>,
    /// The inner array and the index in it: `content`, `parts`, `tool_calls`.
    pub inner: Option<(&'static str, u32)>,
}

impl Place {
    pub const fn field(list: &'static str) -> Self {
        Self { list, item: None, inner: None }
    }
    pub fn item(list: &'static str, item: usize) -> Self {
        Self { list, item: u32::try_from(item).ok(), inner: None }
    }
    #[must_use]
    pub fn inner(self, inner: &'static str, index: usize) -> Self {
        Self { inner: u32::try_from(index).ok().map(|index| (inner, index)), ..self }
    }
    /// This place's path with one more key, for the loss report.
    pub fn key(&self, key: &str) -> String {
        format!("{self}.{key}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.list)?;
        if let Some(item) = self.item {
            write!(f, "[{item}]")?;
        }
        match self.inner {
            Some((inner, index)) => write!(f, ".{inner}[{index}]"),
            None => Ok(()),
        }
    }
}
