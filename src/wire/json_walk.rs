//! The walk over JSON text that `json_scan` runs, without the registers that it runs on.
//!
//! In: UTF-8 text, how deep it may nest, and the top-level keys to look for. Out: the spans of
//! those members' values, or the first fault. Never: recurses, allocates (but for a key written
//! with escapes), or looks at a byte inside a string that [`Registers`] did not point at.

#![expect(clippy::inline_always, reason = "the walk must compile into each processor's version")]

use std::marker::PhantomData;

use crate::wire::json_scan::{Fault, Span};

/// What to look for while checking.
pub(super) struct Search<'s> {
    pub wanted: &'s [&'s str],
    /// As long as `wanted`.
    pub found: &'s mut [Option<Span>],
    pub object_only: bool,
}

impl Search<'_> {
    /// The slot of the top-level key that stands at `key` (without its quotes), if it is wanted.
    #[inline(never)]
    fn slot(&self, text: &[u8], key: Span, escaped: bool) -> Result<Option<usize>, Fault> {
        let slot = if escaped {
            let quoted = Span { start: key.start - 1, end: key.end + 1 };
            let plain: Option<String> = serde_json::from_slice(quoted.of(text)).ok();
            self.wanted.iter().position(|name| Some(*name) == plain.as_deref())
        } else {
            self.wanted.iter().position(|name| name.as_bytes() == key.of(text))
        };
        if slot.and_then(|slot| self.found.get(slot)).is_some_and(Option::is_some) {
            return Err(Fault { at: key.start - 1, what: "a member that is given twice" });
        }
        Ok(slot)
    }
}

/// Finds the bytes that a string can't run over.
pub(super) trait Registers {
    /// Bytes looked at in one go, at most 64.
    const WIDTH: usize;

    /// Bit n is set if `text[at + n]` is a quote, a backslash or a control byte. Bits from `WIDTH`
    /// on, and those of bytes behind the text's end, are zero.
    fn specials(text: &[u8], at: usize) -> u64;
}

struct Walk<'t, R> {
    text: &'t [u8],
    at: usize,
    /// `specials` describes the `R::WIDTH` bytes from here on; never behind `at`.
    base: usize,
    specials: u64,
    /// Open containers.
    depth: usize,
    /// Their kinds, innermost lowest: 1 for an object.
    kinds: u128,
    /// The wanted member whose value is being read, and where that starts.
    open: Option<(usize, usize)>,
    registers: PhantomData<R>,
}

/// Walks over the whole text.
#[inline(always)]
pub(super) fn walk<R: Registers>(
    text: &[u8],
    depth_max: usize,
    mut search: Search<'_>,
) -> Result<(), Fault> {
    let mut walk = Walk::<R>::begin(text);
    walk.blanks();
    if search.object_only && walk.peek() != b'{' {
        return Err(walk.fault("the body must be a JSON object"));
    }
    'value: loop {
        let first = walk.peek();
        match first {
            b'"' => {
                walk.at += 1;
                walk.string()?;
            }
            b'{' | b'[' => {
                if walk.depth >= depth_max {
                    return Err(walk.fault("the nesting is too deep"));
                }
                walk.at += 1;
                walk.blanks();
                // '{' and '[' each stand two before their closing bracket
                if walk.peek() != first + 2 {
                    walk.depth += 1;
                    walk.kinds = walk.kinds << 1 | u128::from(first == b'{');
                    if first == b'{' {
                        walk.key(&search)?;
                    }
                    continue 'value;
                }
                walk.at += 1;
            }
            b'-' | b'0'..=b'9' => walk.number()?,
            b't' => walk.literal(b"true")?,
            b'f' => walk.literal(b"false")?,
            b'n' => walk.literal(b"null")?,
            _ => return Err(walk.fault("a value is expected")),
        }
        loop {
            if walk.depth <= 1 {
                walk.note(&mut search);
                if walk.depth == 0 {
                    return walk.end();
                }
            }
            walk.blanks();
            let in_object = walk.kinds & 1 == 1;
            match walk.peek() {
                b',' => {
                    walk.at += 1;
                    walk.blanks();
                    if in_object {
                        walk.key(&search)?;
                    }
                    continue 'value;
                }
                b'}' if in_object => {}
                b']' if !in_object => {}
                _ if in_object => return Err(walk.fault("a comma or a closing brace is expected")),
                _ => return Err(walk.fault("a comma or a closing bracket is expected")),
            }
            walk.at += 1;
            walk.depth -= 1;
            walk.kinds >>= 1;
        }
    }
}

impl<'t, R: Registers> Walk<'t, R> {
    #[inline(always)]
    fn begin(text: &'t [u8]) -> Self {
        let specials = R::specials(text, 0);
        let registers = PhantomData;
        Self { text, at: 0, base: 0, specials, depth: 0, kinds: 0, open: None, registers }
    }

    /// The next byte; 0, which JSON has no use for, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline(always)]
    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Reads a key and its colon, up to the value.
    #[inline(always)]
    fn key(&mut self, search: &Search<'_>) -> Result<(), Fault> {
        if self.peek() != b'"' {
            return Err(self.fault("a key is expected"));
        }
        self.at += 1;
        let start = self.at;
        let escaped = self.string()?;
        let key = Span { start, end: self.at - 1 };
        self.blanks();
        if self.peek() != b':' {
            return Err(self.fault("a colon is expected"));
        }
        self.at += 1;
        self.blanks();
        if self.depth == 1 && !search.wanted.is_empty() {
            let slot = search.slot(self.text, key, escaped)?;
            self.open = slot.map(|slot| (slot, self.at));
        }
        Ok(())
    }

    /// Notes where the wanted member ends whose value has just been read.
    #[inline(always)]
    fn note(&mut self, search: &mut Search<'_>) {
        if let Some((slot, start)) = self.open.take()
            && let Some(slot) = search.found.get_mut(slot)
        {
            *slot = Some(Span { start, end: self.at });
        }
    }

    /// Reads on from behind the opening quote to behind the closing one; whether there were escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Fault> {
        let mut escaped = false;
        loop {
            let mut offset = self.at - self.base;
            if offset >= R::WIDTH {
                self.base = self.at;
                self.specials = R::specials(self.text, self.at);
                offset = 0;
            }
            let rest = self.specials >> offset;
            if rest == 0 {
                self.at = self.base + R::WIDTH;
                if self.at >= self.text.len() {
                    self.at = self.text.len();
                    return Err(self.fault(""));
                }
                continue;
            }
            self.at += rest.trailing_zeros() as usize;
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    if matches!(self.peek(), b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')
                    {
                        self.at += 1;
                    } else {
                        self.at = unicode_escape(self.text, self.at)?;
                    }
                }
                _ => return Err(self.fault("a control byte in a string must be escaped")),
            }
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Reads one digit or more.
    #[inline(always)]
    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_ascii_digit() {
            return Err(self.fault("a digit is expected"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.at += word.iter().zip(self.rest()).take_while(|(byte, there)| byte == there).count();
        Err(self.fault("only true, false and null are words"))
    }

    #[inline(always)]
    fn end(&mut self) -> Result<(), Fault> {
        self.blanks();
        if self.at == self.text.len() {
            return Ok(());
        }
        Err(self.fault("something follows the value"))
    }

    #[cold]
    fn fault(&self, what: &'static str) -> Fault {
        fault(self.text, self.at, what)
    }
}

#[cold]
fn fault(text: &[u8], at: usize, what: &'static str) -> Fault {
    Fault { at, what: if at >= text.len() { "the text ends too early" } else { what } }
}

/// Reads the `uXXXX` at `at`, and its other half if it is a high surrogate: where it ends.
#[cold]
fn unicode_escape(text: &[u8], at: usize) -> Result<usize, Fault> {
    let unit = unicode_unit(text, at)?;
    match unit {
        0xd800..=0xdbff => {
            let lone = Fault { at: at - 1, what: "half a surrogate pair" };
            if text.get(at + 5..at + 7) != Some(b"\\u") {
                return Err(lone);
            }
            match unicode_unit(text, at + 6)? {
                0xdc00..=0xdfff => Ok(at + 11),
                _ => Err(lone),
            }
        }
        0xdc00..=0xdfff => Err(Fault { at: at - 1, what: "half a surrogate pair" }),
        _ => Ok(at + 5),
    }
}

fn unicode_unit(text: &[u8], at: usize) -> Result<u32, Fault> {
    if text.get(at) != Some(&b'u') {
        return Err(fault(text, at, "an escape that JSON does not know"));
    }
    (at + 1..at + 5).try_fold(0, |unit, at| {
        let digit = text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        digit
            .map(|digit| unit << 4 | digit)
            .ok_or_else(|| fault(text, at, "a hex digit is expected"))
    })
}
