//! The parts of a form (`multipart/form-data`, RFC 7578), as they come.
//!
//! In: the value of `content-type`, and the body as far as it has been received. Out: one part after
//! the other, as ranges of the body. Never: copies a part, or looks at the same byte of it twice.

use memchr::memmem;
use std::ops::Range;

/// No part's head is longer.
const HEAD_MAX: usize = 16 * 1024;
/// RFC 2046 allows 70 characters; clients keep to it, with room to spare.
const BOUNDARY_MAX: usize = 200;

/// Reads one form.
#[derive(Debug)]
pub struct Form {
    /// `--boundary`.
    delimiter: Vec<u8>,
    /// Where the delimiter of the next part stands.
    at: usize,
    /// Up to where the end of the next part does not stand.
    searched: usize,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    Part(Part<'b>),
    /// More of the body is needed to tell.
    More,
    /// There are no more parts.
    End,
}

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'b> {
    /// The field's name; empty where none is said, or not as text.
    pub name: &'b str,
    pub value: Range<usize>,
}

/// Why a form can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a part does not begin with the boundary of the form")]
    Boundary,
    #[error("the head of a part is larger than 16 KiB")]
    Head,
}

impl Form {
    /// `None` if the body is no form, or its boundary is not said.
    pub fn of(content_type: &str) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        })?;
        if boundary.is_empty() || boundary.len() > BOUNDARY_MAX {
            return None;
        }
        Some(Self { delimiter: format!("--{boundary}").into_bytes(), at: 0, searched: 0 })
    }

    /// The next part of `body`, of which more may come: the same bytes as before, and others behind.
    ///
    /// # Errors
    /// [`Malformed`], from then on for good.
    pub fn next<'b>(&mut self, body: &'b [u8]) -> Result<Step<'b>, Malformed> {
        let begin = self.at + self.delimiter.len();
        let (Some(delimiter), Some(after)) = (body.get(self.at..begin), body.get(begin..begin + 2))
        else {
            return Ok(Step::More);
        };
        match after {
            _ if delimiter != self.delimiter => return Err(Malformed::Boundary),
            b"--" => return Ok(Step::End),
            b"\r\n" => {}
            _ => return Err(Malformed::Boundary),
        }
        // From the line end on, so that a part without any head has one of length 0.
        let head = body.get(begin..).unwrap_or_default();
        let Some(length) = memmem::find(head, b"\r\n\r\n") else {
            let too_long = head.len() > HEAD_MAX;
            return if too_long { Err(Malformed::Head) } else { Ok(Step::More) };
        };
        let start = begin + length + 4;
        let from = self.searched.max(start);
        let rest = body.get(from..).unwrap_or_default();
        let Some(end) = self.end(rest).map(|at| from + at) else {
            self.searched = body.len().saturating_sub(self.delimiter.len() + 2).max(start);
            return Ok(Step::More);
        };
        self.at = end + 2;
        self.searched = 0;
        let name = name_of(head.get(..length).unwrap_or_default());
        Ok(Step::Part(Part { name, value: start..end }))
    }

    /// Where the line end before the next delimiter stands.
    fn end(&self, rest: &[u8]) -> Option<usize> {
        let found = memmem::find_iter(rest, &self.delimiter);
        found
            .into_iter()
            .find(|&at| at >= 2 && rest.get(at - 2..at) == Some(b"\r\n"))
            .map(|at| at - 2)
    }
}

/// The name that a part's head gives its field.
fn name_of(head: &[u8]) -> &str {
    let text = std::str::from_utf8(head).unwrap_or_default();
    let disposition = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let parameters = disposition.unwrap_or_default().split(';').skip(1);
    let name =
        parameters.filter_map(|parameter| parameter.split_once('=')).find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case("name").then(|| value.trim().trim_matches('"'))
        });
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Form, Malformed, Step};

    const TYPE: &str = "multipart/form-data; boundary=\"XyZ\"";
    const BODY: &str = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b.mp3\"\r\n\
        Content-Type: audio/mpeg\r\n\r\n--XyZ is no end\r\n--Xy\r\nnor this\r\n--XyZ\r\n\
        content-disposition: form-data; name=model\r\n\r\nopenai/whisper-1\r\n--XyZ\r\n\
        Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--XyZ--\r\n";

    /// Names and values of the parts, with the body cut into reads of `step` bytes.
    fn parts(body: &[u8], step: usize) -> Result<Vec<(String, String)>, Malformed> {
        let mut form = Form::of(TYPE).unwrap();
        let (mut found, mut have) = (Vec::new(), 0);
        loop {
            match form.next(&body[..have])? {
                Step::Part(part) => {
                    let value = String::from_utf8_lossy(&body[part.value.clone()]).into_owned();
                    found.push((part.name.to_owned(), value));
                }
                Step::More if have == body.len() => panic!("it never ended: {found:?}"),
                Step::More => have = body.len().min(have + step),
                Step::End => return Ok(found),
            }
        }
    }

    #[test]
    fn parts_are_the_same_wherever_the_reads_end() {
        let wanted = [
            ("file", "--XyZ is no end\r\n--Xy\r\nnor this"),
            ("model", "openai/whisper-1"),
            ("empty", ""),
        ];
        for step in 1..BODY.len() {
            let found = parts(BODY.as_bytes(), step).unwrap();
            let found: Vec<_> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(found, wanted, "{step}");
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert!(Form::of("application/json").is_none());
        assert!(Form::of("multipart/form-data").is_none());
        assert!(Form::of("multipart/mixed; boundary=x").is_none());
        assert_eq!(parts(b"--Xyz\r\nx: y\r\n\r\n", 100), Err(Malformed::Boundary));
        let endless = format!("--XyZ\r\n{}", "x".repeat(20_000));
        assert_eq!(parts(endless.as_bytes(), 100), Err(Malformed::Head));
    }
}
