//! Converse requests, written: images, sounds and documents.
//!
//! In: [`Media`] of a part. Out: its block. Never: fetches anything: what is given by a URL that is
//! not in S3 is refused, since leaving it out would change what the user asks.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>

use super::Malformed;
use super::bedrock_content::DOCUMENTS;
use super::bedrock_request_out::text_block;
use crate::chat::{Loss, Media, PartKind, Place, Reason, Source};
use crate::wire::json_write::{Array, Object};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Names given to documents of one request, which have to differ.
#[derive(Default)]
pub(super) struct Titles(Vec<String>);

pub(super) fn image(
    place: Place,
    media: &Media<'_>,
    blocks: &mut Array<'_>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    if media.detail.as_ref().is_some_and(|detail| detail != "auto") {
        loss.push(place.key("detail"), Reason::Unsupported);
    }
    let (media_type, bytes) = bytes_of(place, "an image", media)?;
    let subtype = media_type.strip_prefix("image/").unwrap_or(&media_type);
    let format = match subtype {
        "jpg" => "jpeg",
        "png" | "jpeg" | "gif" | "webp" => subtype,
        _ => return Err(Malformed::at(place, "Bedrock takes PNG, JPEG, GIF and WebP images")),
    };
    write_media(blocks, "image", format, bytes);
    Ok(())
}

pub(super) fn document(
    place: Place,
    media: &Media<'_>,
    titles: &mut Titles,
    blocks: &mut Array<'_>,
    loss: &mut Loss,
) -> Result<(), Malformed> {
    let media_type = match &media.source {
        Source::Base64 { media_type, .. } => media_type.as_ref(),
        Source::Url { media_type, .. } => media_type.as_deref().unwrap_or("application/pdf"),
        Source::Text { .. } | Source::Parts(_) => "text/plain",
        Source::File { .. } => "",
    };
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let extension = media.name.as_deref().and_then(|name| name.rsplit_once('.'));
    let known = DOCUMENTS.iter().find(|(format, mime)| {
        *mime == essence
            || (matches!(essence, "" | "application/octet-stream")
                && extension.is_some_and(|(_, end)| end.eq_ignore_ascii_case(format)))
    });
    let format = match known {
        Some((format, _)) => *format,
        None if essence.starts_with("text/") => "txt",
        None => {
            return Err(Malformed::at(place, "Bedrock does not take documents of this type"));
        }
    };
    let name = titles.add(place, media.name.as_deref(), format, loss);
    let mut block = blocks.object();
    let mut document = block.object("document");
    document.text("format", format).text("name", &name);
    let mut source = document.object("source");
    match &media.source {
        Source::Text { text } => {
            source.text("bytes", &STANDARD.encode(text.as_bytes()));
        }
        Source::Parts(parts) => {
            let mut content = source.array("content");
            for part in parts {
                match &part.kind {
                    PartKind::Text { text, .. } => text_block(&mut content, text),
                    _ => loss.push(part.place, Reason::Unsupported),
                }
            }
            content.end();
        }
        _ => bytes_of(place, "a document", media)?.1.write(&mut source),
    }
    source.end();
    if let Some(context) = &media.context {
        document.text("context", context);
    }
    if media.citations {
        document.raw("citations", r#"{"enabled":true}"#);
    }
    document.end();
    block.end();
    Ok(())
}

impl Titles {
    /// A document's name in the characters that Converse allows, and unlike the others.
    fn add(&mut self, place: Place, name: Option<&str>, format: &str, loss: &mut Loss) -> String {
        let name = name.unwrap_or_default();
        let stem = match name.rsplit_once('.') {
            Some((stem, end)) if end.eq_ignore_ascii_case(format) => stem,
            _ => name,
        };
        let mut title = String::with_capacity(stem.len());
        for c in stem.chars().take(190) {
            let blank = c.is_whitespace();
            if !(blank && title.ends_with(' ')) {
                let allowed = c.is_ascii_alphanumeric() || "-()[]".contains(c);
                title.push(if blank {
                    ' '
                } else if allowed {
                    c
                } else {
                    '_'
                });
            }
        }
        let trimmed = title.trim();
        if trimmed != stem {
            loss.push(place, Reason::Approximated);
        }
        let base = if trimmed.is_empty() { "document" } else { trimmed };
        let mut unique = base.to_owned();
        let mut count = 1;
        while self.0.contains(&unique) {
            count += 1;
            unique = format!("{base}-{count}");
        }
        self.0.push(unique.clone());
        unique
    }
}

/// What stands in a `source`.
#[derive(Clone, Copy)]
enum Bytes<'m> {
    Base64(&'m str),
    S3(&'m str),
}

impl Bytes<'_> {
    fn write(self, source: &mut Object<'_>) {
        match self {
            Self::Base64(data) => {
                source.text("bytes", data);
            }
            Self::S3(uri) => {
                let mut location = source.object("s3Location");
                location.text("uri", uri);
                location.end();
            }
        }
    }
}

/// The media type and where its bytes are; Bedrock fetches only from S3.
fn bytes_of<'m>(
    place: Place,
    what: &str,
    media: &'m Media<'_>,
) -> Result<(Cow<'m, str>, Bytes<'m>), Malformed> {
    match &media.source {
        Source::Base64 { media_type, data } => Ok((Cow::Borrowed(media_type), Bytes::Base64(data))),
        Source::Url { url, media_type } if url.starts_with("s3://") => {
            let end = url.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
            Ok((media_type.as_deref().map_or(Cow::Owned(end), Cow::Borrowed), Bytes::S3(url)))
        }
        Source::Url { .. } => {
            let message =
                format!("Bedrock takes {what} as base64 or s3:// URL, not by another URL");
            Err(Malformed::at(place, message))
        }
        Source::File { .. } => {
            let message = format!("{what} uploaded elsewhere cannot be sent to Bedrock");
            Err(Malformed::at(place, message))
        }
        Source::Text { .. } | Source::Parts(_) => {
            Err(Malformed::at(place, format!("{what} must be given as base64")))
        }
    }
}

pub(super) fn audio(
    place: Place,
    media: &Media<'_>,
    blocks: &mut Array<'_>,
) -> Result<(), Malformed> {
    const FORMATS: [&str; 15] = [
        "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg",
        "mpga", "pcm", "webm",
    ];
    let (media_type, bytes) = bytes_of(place, "audio", media)?;
    let subtype = media_type.strip_prefix("audio/").unwrap_or(&media_type);
    let format = if matches!(subtype, "x-wav" | "wave") { "wav" } else { subtype };
    if !FORMATS.contains(&format) {
        return Err(Malformed::at(place, "Bedrock does not take audio of this format"));
    }
    write_media(blocks, "audio", format, bytes);
    Ok(())
}

fn write_media(blocks: &mut Array<'_>, kind: &str, format: &str, bytes: Bytes<'_>) {
    let mut block = blocks.object();
    let mut media = block.object(kind);
    media.text("format", format);
    let mut source = media.object("source");
    bytes.write(&mut source);
    source.end();
    media.end();
    block.end();
}
