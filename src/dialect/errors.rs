//! Errors in each language: read from an upstream, written for a client.
//!
//! In: an upstream's error status and body (or a frame in mid-stream), or a [`Fault`] of the
//! gateway. Out: the fault, or the body that the client's SDK understands.
//! Never: changes an upstream's message; trusts that a body is in the language it should be in,
//! since proxies and load balancers answer in their own.

use super::Dialect;
use crate::chat::{ErrorKind, Fault};
use crate::wire::frames::{Frame, Frames};
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// The most of a plain-text body that becomes a message, in bytes.
const TEXT_MAX: usize = 8 << 10;

/// Reads an upstream's error body, in whatever language it is; what has no known shape is its
/// own message.
pub fn read(_dialect: Dialect, status: u16, body: &[u8]) -> Fault<'static> {
    let body = String::from_utf8_lossy(body);
    let body = body.trim();
    if body.starts_with(['{', '['])
        && sonic_rs::from_str::<sonic_rs::LazyValue<'_>>(body).is_ok()
        && let Some(fault) = of_json(status, body)
    {
        return fault;
    }
    let message = if body.is_empty() {
        format!("the upstream answered with status {status} and no message")
    } else if body.starts_with('<') {
        let title = title_of(body).unwrap_or("no title");
        format!("the upstream answered with status {status} and a web page: {title}")
    } else {
        body.get(..body.floor_char_boundary(TEXT_MAX)).unwrap_or_default().to_owned()
    };
    Fault { kind: ErrorKind::of_status(status), message: Cow::Owned(message), code: None }
}

fn title_of(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower.get(start..)?.find("</title>")?;
    page.get(start..end).map(str::trim)
}

/// The error that a JSON value tells of. `status` is 0 in mid-stream. `None` if it tells of none.
pub(super) fn of_json(status: u16, raw: &str) -> Option<Fault<'static>> {
    if json_read::is_array(raw) {
        return json_read::items(raw).next().and_then(|first| of_json(status, first));
    }
    let mut told = Told::default();
    for (name, value) in json_read::fields(raw) {
        if json_read::is_null(value) {
            continue;
        }
        match name.as_ref() {
            "error" | "errors" if json_read::is_object(value) => told.read_object(value),
            "error" => told.message = Some(spoken(value)),
            "error_description" | "message" | "Message" | "detail" => {
                told.message = Some(spoken(value));
            }
            "__type" => told.name = json_read::text(value).map(|name| bare(&name).to_owned()),
            "code" if told.code.is_none() => {
                told.code = json_read::text(value).map(Cow::into_owned);
            }
            _ => {}
        }
    }
    told.into_fault(status)
}

/// What an error object says, before it is judged.
#[derive(Default)]
struct Told {
    message: Option<String>,
    /// The name of its kind: `type`, `__type`, `status`.
    name: Option<String>,
    code: Option<String>,
}

impl Told {
    fn read_object(&mut self, raw: &str) {
        for (name, value) in json_read::fields(raw) {
            let text = || json_read::text(value).map(Cow::into_owned);
            match name.as_ref() {
                _ if json_read::is_null(value) => {}
                "message" => self.message = Some(spoken(value)),
                "type" | "status" => self.name = text().or(self.name.take()),
                "code" => self.code = text().or(self.code.take()),
                _ => {}
            }
        }
    }

    fn into_fault(self, status: u16) -> Option<Fault<'static>> {
        let by_code = self.code.as_deref().and_then(kind_of);
        let by_name = self.name.as_deref().and_then(kind_of);
        let by_status = (status >= 400).then(|| ErrorKind::of_status(status));
        let vague = |kind: &ErrorKind| matches!(kind, ErrorKind::InvalidRequest | ErrorKind::Api);
        let votes = [by_code, by_name, by_status];
        let kind = votes.iter().flatten().find(|kind| !vague(kind));
        let kind = kind.or(votes.iter().flatten().next()).copied().unwrap_or(ErrorKind::Api);
        // A name without a word of ours is kept as the code, so that it is not lost.
        let code = self.code.or(self.name.filter(|name| kind_of(name).is_none()));
        let message = self.message.or_else(|| code.clone())?;
        Some(Fault { kind, message: Cow::Owned(message), code: code.map(Cow::Owned) })
    }
}

fn spoken(raw: &str) -> String {
    json_read::text(raw).map_or_else(|| raw.to_owned(), Cow::into_owned)
}

/// `com.amazon#ThrottlingException:http://…` is `ThrottlingException`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit('#').next().unwrap_or(name)
}

/// What a vendor's name of an error means, whichever vendor's it is.
pub(super) fn kind_of(name: &str) -> Option<ErrorKind> {
    let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, kind)| *kind)
}

const NAMES: &[(&str, ErrorKind)] = &[
    // Anthropic
    ("invalid_request_error", ErrorKind::InvalidRequest),
    ("authentication_error", ErrorKind::Authentication),
    ("billing_error", ErrorKind::Billing),
    ("permission_error", ErrorKind::Permission),
    ("not_found_error", ErrorKind::NotFound),
    ("request_too_large", ErrorKind::TooLarge),
    ("rate_limit_error", ErrorKind::RateLimit),
    ("api_error", ErrorKind::Api),
    ("timeout_error", ErrorKind::Timeout),
    ("overloaded_error", ErrorKind::Overloaded),
    // OpenAI and those who follow it
    ("invalid_api_key", ErrorKind::Authentication),
    ("insufficient_quota", ErrorKind::Billing),
    ("billing_hard_limit_reached", ErrorKind::Billing),
    ("model_not_found", ErrorKind::NotFound),
    ("rate_limit_exceeded", ErrorKind::RateLimit),
    ("too_many_requests", ErrorKind::RateLimit),
    ("requests", ErrorKind::RateLimit),
    ("tokens", ErrorKind::RateLimit),
    ("server_error", ErrorKind::Api),
    ("internal_server_error", ErrorKind::Api),
    ("service_unavailable", ErrorKind::Overloaded),
    ("engine_overloaded", ErrorKind::Overloaded),
    ("context_length_exceeded", ErrorKind::InvalidRequest),
    ("server_is_overloaded", ErrorKind::Overloaded),
    ("slow_down", ErrorKind::Overloaded),
    ("invalid_prompt", ErrorKind::InvalidRequest),
    ("bad_gateway", ErrorKind::Network),
    ("not_supported", ErrorKind::NotSupported),
    ("request_timeout", ErrorKind::Timeout),
    ("timeout", ErrorKind::Timeout),
    // AWS
    ("ValidationException", ErrorKind::InvalidRequest),
    ("AccessDeniedException", ErrorKind::Permission),
    ("UnrecognizedClientException", ErrorKind::Authentication),
    ("ExpiredTokenException", ErrorKind::Authentication),
    ("InvalidSignatureException", ErrorKind::Authentication),
    ("MissingAuthenticationTokenException", ErrorKind::Authentication),
    ("ResourceNotFoundException", ErrorKind::NotFound),
    ("UnknownOperationException", ErrorKind::NotFound),
    ("ThrottlingException", ErrorKind::RateLimit),
    ("ServiceQuotaExceededException", ErrorKind::Billing),
    ("ModelTimeoutException", ErrorKind::Timeout),
    ("ModelErrorException", ErrorKind::Api),
    ("ModelStreamErrorException", ErrorKind::Api),
    ("InternalServerException", ErrorKind::Api),
    ("ModelNotReadyException", ErrorKind::Overloaded),
    ("ServiceUnavailableException", ErrorKind::Overloaded),
    // Google
    ("INVALID_ARGUMENT", ErrorKind::InvalidRequest),
    ("FAILED_PRECONDITION", ErrorKind::InvalidRequest),
    ("OUT_OF_RANGE", ErrorKind::InvalidRequest),
    ("UNAUTHENTICATED", ErrorKind::Authentication),
    ("PERMISSION_DENIED", ErrorKind::Permission),
    ("NOT_FOUND", ErrorKind::NotFound),
    ("RESOURCE_EXHAUSTED", ErrorKind::RateLimit),
    ("INTERNAL", ErrorKind::Api),
    ("UNKNOWN", ErrorKind::Api),
    ("DEADLINE_EXCEEDED", ErrorKind::Timeout),
    ("UNAVAILABLE", ErrorKind::Overloaded),
    ("UNIMPLEMENTED", ErrorKind::NotSupported),
];

/// The HTTP status that stands for a kind where the upstream gave none.
pub const fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidRequest => 400,
        ErrorKind::Authentication => 401,
        ErrorKind::Billing => 402,
        ErrorKind::Permission => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::TooLarge => 413,
        ErrorKind::RateLimit => 429,
        ErrorKind::Api => 500,
        ErrorKind::NotSupported => 501,
        ErrorKind::Network => 502,
        ErrorKind::Overloaded => 503,
        ErrorKind::Timeout => 504,
    }
}

/// As [`status_of`], in the language's own numbers: Anthropic says 529 when it is overloaded.
pub const fn status_in(dialect: Dialect, kind: ErrorKind) -> u16 {
    match (dialect, kind) {
        (Dialect::Anthropic, ErrorKind::Overloaded) => 529,
        _ => status_of(kind),
    }
}

/// Writes the error body for a client. `request_id` goes where the language has a place for it.
pub fn write(
    dialect: Dialect,
    status: u16,
    fault: &Fault<'_>,
    request_id: &str,
    out: &mut Vec<u8>,
) {
    let mut body = Object::begin(out);
    match dialect {
        Dialect::Anthropic => {
            body.text("type", "error");
            let mut error = body.object("error");
            error.text("type", anthropic_type(fault.kind)).text("message", &fault.message);
            error.end();
            if !request_id.is_empty() {
                body.text("request_id", request_id);
            }
        }
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            let (kind, code) = openai_type(fault.kind);
            let mut error = body.object("error");
            error.text("message", &fault.message).text("type", kind).null("param");
            match fault.code.as_deref().or(code) {
                Some(code) => error.text("code", code),
                None => error.null("code"),
            };
            error.end();
        }
        Dialect::Bedrock => {
            body.text("message", &fault.message);
        }
        Dialect::Gemini => {
            let code = if status >= 400 { status } else { status_of(fault.kind) };
            let mut error = body.object("error");
            error.unsigned("code", u64::from(code)).text("message", &fault.message);
            error.text("status", gemini_status(fault.kind));
            error.end();
        }
    }
    body.end();
}

/// Whether a client of `dialect` understands an upstream's error body as it is. Clouds and proxies
/// that speak Anthropic's language may answer failures in another; what is no JSON at all comes from
/// something before the vendor, and is shown as it is.
pub fn is_in(dialect: Dialect, body: &[u8]) -> bool {
    let body = std::str::from_utf8(body).unwrap_or_default();
    let json = sonic_rs::from_str::<sonic_rs::LazyValue<'_>>(body).is_ok();
    dialect != Dialect::Anthropic
        || !json
        || json_read::field(body, "error").is_some_and(json_read::is_object)
            && json_read::text_field(body, "type").is_some_and(|kind| kind == "error")
}

/// Writes the event that ends a Responses stream of which the gateway knows no more than that it
/// broke off; `sequence` is its number.
pub fn write_event(fault: &Fault<'_>, sequence: u64, out: &mut Frames) {
    let mut event = Object::begin(out.begin(Some("error")));
    event.text("type", "error");
    let (kind, code) = openai_type(fault.kind);
    event.text("code", fault.code.as_deref().or(code).unwrap_or(kind));
    event.text("message", &fault.message).null("param").unsigned("sequence_number", sequence);
    event.end();
    out.end();
}

/// The error type that Anthropic's SDKs know. They have no word for a broken network or for what
/// is not supported.
pub const fn anthropic_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::NotSupported => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Api | ErrorKind::Network => "api_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Overloaded => "overloaded_error",
    }
}

/// OpenAI's `type`, and the `code` said where the upstream gave none.
pub const fn openai_type(kind: ErrorKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidRequest => ("invalid_request_error", None),
        ErrorKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::Billing => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Permission => ("permission_error", None),
        ErrorKind::NotFound => ("not_found_error", Some("not_found")),
        ErrorKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Api => ("server_error", Some("server_error")),
        ErrorKind::Timeout => ("timeout_error", Some("timeout")),
        ErrorKind::Overloaded => ("server_error", Some("service_unavailable")),
        ErrorKind::Network => ("server_error", Some("bad_gateway")),
        ErrorKind::NotSupported => ("invalid_request_error", Some("not_supported")),
    }
}

/// The exception name of Bedrock: the value of `x-amzn-errortype`. In a stream it is the
/// `:exception-type`, with a small first letter ([`bedrock_stream_exception`]).
pub const fn bedrock_exception(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::TooLarge | ErrorKind::NotSupported => {
            "ValidationException"
        }
        ErrorKind::Authentication => "UnrecognizedClientException",
        ErrorKind::Permission => "AccessDeniedException",
        ErrorKind::Billing => "ServiceQuotaExceededException",
        ErrorKind::NotFound => "ResourceNotFoundException",
        ErrorKind::RateLimit => "ThrottlingException",
        ErrorKind::Api | ErrorKind::Network => "InternalServerException",
        ErrorKind::Timeout => "ModelTimeoutException",
        ErrorKind::Overloaded => "ServiceUnavailableException",
    }
}

/// The exceptions that a Converse stream can end with; boto3 loses the message of any other.
pub const fn bedrock_stream_exception(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest
        | ErrorKind::TooLarge
        | ErrorKind::NotSupported
        | ErrorKind::Authentication
        | ErrorKind::Permission
        | ErrorKind::Billing
        | ErrorKind::NotFound => "validationException",
        ErrorKind::RateLimit => "throttlingException",
        ErrorKind::Api | ErrorKind::Network => "internalServerException",
        ErrorKind::Timeout => "modelStreamErrorException",
        ErrorKind::Overloaded => "serviceUnavailableException",
    }
}

/// Google's canonical code.
pub const fn gemini_status(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::TooLarge => "INVALID_ARGUMENT",
        ErrorKind::Authentication => "UNAUTHENTICATED",
        ErrorKind::Permission => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::RateLimit | ErrorKind::Billing => "RESOURCE_EXHAUSTED",
        ErrorKind::Api => "INTERNAL",
        ErrorKind::Timeout => "DEADLINE_EXCEEDED",
        ErrorKind::Overloaded | ErrorKind::Network => "UNAVAILABLE",
        ErrorKind::NotSupported => "UNIMPLEMENTED",
    }
}

/// Whether this frame of an upstream's stream says that the answer failed.
pub fn is_error_frame(dialect: Dialect, frame: &Frame<'_>) -> bool {
    of_frame(dialect, frame).is_some()
}

/// The fault that this frame of an upstream's stream tells of, if it does.
pub fn of_frame(dialect: Dialect, frame: &Frame<'_>) -> Option<Fault<'static>> {
    let data = frame.data;
    if frame.exception {
        let mut fault = of_json(0, data).unwrap_or_else(|| read(dialect, 0, data.as_bytes()));
        let name = frame.name.unwrap_or("");
        fault.kind = kind_of(name).unwrap_or(fault.kind);
        fault.code = (!name.is_empty()).then(|| Cow::Owned(name.to_owned())).or(fault.code);
        return Some(fault);
    }
    memchr::memmem::find(data.as_bytes(), b"error")?;
    match dialect {
        Dialect::OpenAiResponses => {
            let kind = json_read::text_field(data, "type").unwrap_or_default();
            match kind.as_ref() {
                "error" => of_json(0, data),
                "response.failed" => {
                    json_read::field(data, "response").and_then(|response| of_json(0, response))
                }
                _ => member_error(data),
            }
        }
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::Bedrock | Dialect::Gemini => {
            member_error(data)
        }
    }
}

/// The error of a top-level member `error`, where it is one.
fn member_error(data: &str) -> Option<Fault<'static>> {
    let error = json_read::field(data, "error").or_else(|| {
        json_read::items(data).next().and_then(|first| json_read::field(first, "error"))
    })?;
    if json_read::is_object(error) || json_read::is_string(error) { of_json(0, data) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and body of an upstream, and the kind, message and code to be read from them.
    type Told = (u16, &'static str, ErrorKind, &'static str, Option<&'static str>);

    const TOLD: &[Told] = &[
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
            ErrorKind::Overloaded,
            "Overloaded",
            None,
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ErrorKind::Billing,
            "You exceeded",
            Some("insufficient_quota"),
        ),
        (
            401,
            r#"{"error":{"message":"bad key","type":"invalid_request_error","code":null}}"#,
            ErrorKind::Authentication,
            "bad key",
            None,
        ),
        (400, r#"{"error":"plain"}"#, ErrorKind::InvalidRequest, "plain", None),
        (404, r#"{"detail":"Not Found"}"#, ErrorKind::NotFound, "Not Found", None),
        (422, r#"{"detail":[{"msg":"x"}]}"#, ErrorKind::InvalidRequest, r#"[{"msg":"x"}]"#, None),
        (
            400,
            r#"{"message":"too long","__type":"com.amazon#ValidationException:http://x"}"#,
            ErrorKind::InvalidRequest,
            "too long",
            None,
        ),
        (403, r#"{"Message":"no"}"#, ErrorKind::Permission, "no", None),
        (
            503,
            r#"[{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}]"#,
            ErrorKind::Overloaded,
            "busy",
            None,
        ),
        (500, "it broke", ErrorKind::Api, "it broke", None),
        (
            502,
            "<html><head><TITLE> Bad Gateway </TITLE></head>",
            ErrorKind::Network,
            "the upstream answered with status 502 and a web page: Bad Gateway",
            None,
        ),
        (
            418,
            r#"{"error":{"type":"teapot","message":"no"}}"#,
            ErrorKind::InvalidRequest,
            "no",
            Some("teapot"),
        ),
    ];

    #[test]
    fn every_vendors_body_is_read_whatever_was_expected() {
        let read = |status, body: &str| {
            let fault = read(Dialect::Anthropic, status, body.as_bytes());
            (fault.kind, fault.message.into_owned(), fault.code.map(Cow::into_owned))
        };
        for (status, body, kind, message, code) in TOLD {
            let (got_kind, got_message, got_code) = read(*status, body);
            assert_eq!((got_kind, got_message.as_str()), (*kind, *message), "{body}");
            assert_eq!(got_code.as_deref(), *code, "{body}");
        }
        assert!(read(503, "").1.contains("503"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let fault =
            Fault { kind: ErrorKind::RateLimit, message: "slow \"down\"".into(), code: None };
        for dialect in Dialect::ALL {
            let mut out = Vec::new();
            write(dialect, 429, &fault, "req_7", &mut out);
            let again = read(dialect, 429, &out);
            assert_eq!((again.kind, again.message), (fault.kind, fault.message.clone()));
        }
    }

    #[test]
    fn names_written_are_names_known() {
        for status in [400, 401, 402, 403, 404, 408, 413, 429, 500, 501, 502, 503] {
            let kind = ErrorKind::of_status(status);
            assert_eq!(ErrorKind::of_status(status_of(kind)), kind);
            assert!(kind_of(anthropic_type(kind)).is_some());
            assert!(kind_of(bedrock_exception(kind)).is_some());
            assert!(kind_of(bedrock_stream_exception(kind)).is_some());
            assert!(kind_of(gemini_status(kind)).is_some());
        }
    }

    #[test]
    fn error_frames_are_told_from_answers() {
        let frame = |data| Frame { name: None, exception: false, data };
        let is = |dialect, data| is_error_frame(dialect, &frame(data));
        assert!(is(Dialect::OpenAiChat, r#"{"error":{"message":"x"}}"#));
        assert!(is(Dialect::OpenAiChat, r#"{"error":"x"}"#));
        assert!(!is(
            Dialect::OpenAiChat,
            r#"{"choices":[{"delta":{"content":"error"}}],"error":null}"#
        ));
        assert!(is(
            Dialect::Anthropic,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#
        ));
        assert!(!is(
            Dialect::Anthropic,
            r#"{"type":"content_block_delta","delta":{"text":"\"error\":{}"}}"#
        ));
        assert!(is(Dialect::OpenAiResponses, r#"{"type":"error","message":"x","code":null}"#));
        assert!(is(
            Dialect::OpenAiResponses,
            r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}"#
        ));
        assert!(!is(
            Dialect::OpenAiResponses,
            r#"{"type":"response.created","response":{"error":null}}"#
        ));
        let throttled = Frame {
            name: Some("throttlingException"),
            exception: true,
            data: r#"{"message":"slow"}"#,
        };
        let fault = of_frame(Dialect::Bedrock, &throttled).unwrap();
        assert_eq!((fault.kind, fault.message.as_ref()), (ErrorKind::RateLimit, "slow"));
    }
}
