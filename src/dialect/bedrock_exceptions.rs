//! The frame in which a stream of Bedrock's ends when it fails.
//!
//! In: a [`Fault`]. Out: an exception frame, whatever language the chunks before were in. Never:
//! makes up a name: the AWS SDKs lose the message of an exception that they do not know.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use super::errors;
use crate::chat::Fault;
use crate::wire::frames::Frames;
use crate::wire::json_write::Object;

pub(super) fn write(fault: &Fault<'_>, out: &mut Frames) {
    let mut object = Object::begin(out.exception(name(fault)));
    object.text("message", &fault.message);
    object.end();
    out.end();
}

/// One of the exceptions that the SDKs know in every stream; an upstream's own is kept.
fn name(fault: &Fault<'_>) -> &'static str {
    const KNOWN: [&str; 5] = [
        "internalServerException",
        "modelStreamErrorException",
        "serviceUnavailableException",
        "throttlingException",
        "validationException",
    ];
    let code = fault.code.as_deref();
    KNOWN
        .into_iter()
        .find(|known| code == Some(*known))
        .unwrap_or(errors::bedrock_stream_exception(fault.kind))
}
