//! The names that Bedrock gives its errors, and what they stand for.
//!
//! In: an exception's name, from a frame, a header or a body, or a kind of the hub's. Out: the
//! other. Never: makes up a name: the AWS SDKs lose the message of one they do not know.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

use crate::chat::{ErrorKind, Fault};
use crate::wire::frames::Frames;
use crate::wire::json_read;
use crate::wire::json_write::Object;
use std::borrow::Cow;

/// What an exception stands for, by its name in lower or upper camel case. A namespace before `#`
/// and a URI behind `:` are passed over.
pub(super) fn kind(name: &str) -> Option<ErrorKind> {
    let name = bare(name);
    let stem = name.strip_suffix("Exception").or_else(|| name.strip_suffix("Error"));
    let mut stem = stem.unwrap_or(name).to_owned();
    if let Some(first) = stem.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(match stem.as_str() {
        "Throttling" | "TooManyRequests" | "ModelNotReady" => ErrorKind::RateLimit,
        "ServiceQuotaExceeded" => ErrorKind::Billing,
        "Validation" | "MalformedHttpRequest" | "Conflict" => ErrorKind::InvalidRequest,
        "AccessDenied" | "OptInRequired" => ErrorKind::Permission,
        "NotAuthorized"
        | "ExpiredToken"
        | "UnrecognizedClient"
        | "IncompleteSignature"
        | "InvalidSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken" => ErrorKind::Authentication,
        "ResourceNotFound" | "UnknownOperation" => ErrorKind::NotFound,
        "ModelTimeout" | "RequestTimeout" => ErrorKind::Timeout,
        "InternalServer" | "InternalFailure" | "InternalService" | "Internal" | "Model" => {
            ErrorKind::Api
        }
        "ModelStream" | "ModelStreamError" | "ModelError" => ErrorKind::Api,
        "ServiceUnavailable" => ErrorKind::Overloaded,
        _ => return None,
    })
}

/// The name alone, of `namespace#Name:uri`.
pub(super) fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

/// The fault that an exception frame of this name and payload says.
pub(super) fn read<'a>(name: &'a str, data: &'a str) -> Fault<'a> {
    let message = ["message", "Message", "originalMessage"]
        .iter()
        .find_map(|key| json_read::text_field(data, key))
        .unwrap_or(Cow::Borrowed(data));
    let kind = kind(name).unwrap_or(ErrorKind::Api);
    Fault { kind, message, code: Some(Cow::Borrowed(name)) }
}

/// Writes the frame that ends a stream in `fault`.
pub(super) fn write(fault: &Fault<'_>, out: &mut Frames) {
    let mut object = Object::begin(out.exception(name_in_stream(fault)));
    object.text("message", &fault.message);
    object.end();
    out.end();
}

/// One of the exceptions that the SDKs know in every stream.
pub(super) fn name_in_stream(fault: &Fault<'_>) -> &'static str {
    const KNOWN: [&str; 5] = [
        "internalServerException",
        "modelStreamErrorException",
        "serviceUnavailableException",
        "throttlingException",
        "validationException",
    ];
    let code = fault.code.as_deref();
    if let Some(name) = KNOWN.iter().find(|name| code == Some(**name)) {
        return name;
    }
    match fault.kind {
        ErrorKind::RateLimit => "throttlingException",
        ErrorKind::Overloaded => "serviceUnavailableException",
        ErrorKind::Api => "internalServerException",
        ErrorKind::Timeout | ErrorKind::Network => "modelStreamErrorException",
        ErrorKind::InvalidRequest
        | ErrorKind::Authentication
        | ErrorKind::Billing
        | ErrorKind::Permission
        | ErrorKind::NotFound
        | ErrorKind::TooLarge
        | ErrorKind::NotSupported => "validationException",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_every_form() {
        for (name, expected) in [
            ("throttlingException", Some(ErrorKind::RateLimit)),
            ("com.amazon.coral#ValidationException", Some(ErrorKind::InvalidRequest)),
            ("AccessDeniedException:http://internal.amazon.com/", Some(ErrorKind::Permission)),
            ("ModelErrorException", Some(ErrorKind::Api)),
            ("modelStreamErrorException", Some(ErrorKind::Api)),
            ("InternalServerError", Some(ErrorKind::Api)),
            ("ServiceQuotaExceededException", Some(ErrorKind::Billing)),
            ("fooException", None),
            ("", None),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
