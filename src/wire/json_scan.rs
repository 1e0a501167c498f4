//! Checks JSON once, at memory speed, and finds top-level members on the way.
//!
//! In: a body or the data of a stream event. Out: nothing for good JSON, or where the wanted
//! members' values stand; the offset and the broken rule for anything else. Never: recurses,
//! allocates (but for a key written with escapes), builds a tree, or looks at what a value means.
//! What passed here may be read by parsers that recurse or don't check. RFC 8259, RFC 3629.
//!
//! Strings are most of a body, so they are searched a register at a time; which registers there
//! are is asked once at run time. All ways give the same answer for any input.

#![expect(clippy::inline_always, reason = "the scan must compile into each processor's version")]

use std::marker::PhantomData;
use std::sync::OnceLock;

/// The deepest nesting that can be allowed: as deep as one machine word pair can note it.
pub const DEPTH_MAX: usize = 128;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Fault {
    /// Offset of the byte that broke the rule; the text's length if it ends too early.
    pub at: usize,
    /// The rule.
    pub what: &'static str,
}

/// A range of the scanned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// The bytes of the span; empty if `text` is not the text that was scanned.
    pub fn of<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Checks that `body` is one JSON object nested at most `depth_max` deep (at most [`DEPTH_MAX`];
/// the object itself counts as 1), and finds the values of its members named in `wanted`.
///
/// # Errors
/// The first fault. A wanted member that is given twice is one: parsers disagree about which
/// counts, so what was checked could differ from what is used.
pub fn scan<const N: usize>(
    body: &[u8],
    depth_max: usize,
    wanted: &[&str; N],
) -> Result<[Option<Span>; N], Fault> {
    let mut found = [None; N];
    let search = Search { wanted, found: &mut found, object_only: true };
    run(Lane::best(), body, depth_max, search)?;
    Ok(found)
}

/// Checks that `text` is one JSON value nested at most `depth_max` deep (at most [`DEPTH_MAX`]).
///
/// # Errors
/// The first fault.
pub fn validate(text: &[u8], depth_max: usize) -> Result<(), Fault> {
    validate_with(Lane::best(), text, depth_max)
}

/// [`validate`] with a given register width; the answers are equal. For tests and benches.
#[doc(hidden)]
pub fn validate_with(lane: Lane, text: &[u8], depth_max: usize) -> Result<(), Fault> {
    run(lane, text, depth_max, Search { wanted: &[], found: &mut [], object_only: false })
}

/// The registers that strings are searched with.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Word,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2Here),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512Here),
}

/// Proof that this processor has AVX2 and BMI.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2Here(());

/// Proof that this processor has AVX-512 BW and BMI.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512Here(());

impl Lane {
    /// All lanes of this processor, the best last.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Word];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            all.push(Self::Avx2(Avx2Here(())));
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                all.push(Self::Avx512(Avx512Here(())));
            }
        }
        all
    }

    fn best() -> Self {
        static BEST: OnceLock<Lane> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().pop().unwrap_or(Self::Word))
    }
}

/// What to look for while checking.
struct Search<'s> {
    wanted: &'s [&'s str],
    /// As long as `wanted`.
    found: &'s mut [Option<Span>],
    object_only: bool,
}

fn run(lane: Lane, text: &[u8], depth_max: usize, search: Search<'_>) -> Result<(), Fault> {
    if simdutf8::basic::from_utf8(text).is_err() {
        let at =
            simdutf8::compat::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
        return Err(Fault { at, what: "a byte is not UTF-8" });
    }
    let depth_max = depth_max.min(DEPTH_MAX);
    match lane {
        Lane::Word => walk::<Word>(text, depth_max, search),
        #[cfg(target_arch = "x86_64")]
        Lane::Avx2(_) => x86::walk_avx2(text, depth_max, search),
        #[cfg(target_arch = "x86_64")]
        Lane::Avx512(_) => x86::walk_avx512(text, depth_max, search),
    }
}

/// Finds the bytes that a string can't run over.
trait Registers {
    /// Bytes looked at in one go, at most 64.
    const WIDTH: usize;

    /// Bit n is set if `text[at + n]` is a quote, a backslash or a control byte. Bits from `WIDTH`
    /// on, and those of bytes behind the text's end, are zero.
    fn specials(text: &[u8], at: usize) -> u64;
}

/// Eight bytes in a general register: for processors without wide ones.
struct Word;

impl Registers for Word {
    const WIDTH: usize = 8;

    #[inline(always)]
    fn specials(text: &[u8], at: usize) -> u64 {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const LOW: u64 = 0x7f * ONES;
        // 0x80 in each byte that is zero; exact, no carry passes between bytes
        let zeros = |word: u64| !(((word & LOW) + LOW) | word | LOW);
        let rest = text.get(at..).unwrap_or_default();
        let word = if let Some(eight) = rest.first_chunk::<8>() {
            u64::from_le_bytes(*eight)
        } else {
            let mut eight = [b' '; 8];
            eight.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(eight)
        };
        let hits = zeros(word ^ (ONES * u64::from(b'"')))
            | zeros(word ^ (ONES * u64::from(b'\\')))
            | zeros(word & (ONES * 0xe0));
        // gathers the eight marks into one byte
        (hits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

struct Walk<'t, R> {
    text: &'t [u8],
    at: usize,
    /// `specials` describes the `R::WIDTH` bytes from here on; never behind `at`.
    base: usize,
    specials: u64,
    registers: PhantomData<R>,
}

/// Walks over the whole text. The kinds of the open containers stand in `kinds`, innermost lowest:
/// 1 for an object.
#[inline(always)]
fn walk<R: Registers>(text: &[u8], depth_max: usize, search: Search<'_>) -> Result<(), Fault> {
    let Search { wanted, found, object_only } = search;
    let mut walk =
        Walk::<R> { text, at: 0, base: 0, specials: R::specials(text, 0), registers: PhantomData };
    let mut depth = 0_usize;
    let mut kinds = 0_u128;
    // the wanted member whose value is being read, and where that starts
    let mut open: Option<(usize, usize)> = None;
    walk.blanks();
    if object_only && walk.peek() != b'{' {
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
                if depth >= depth_max {
                    return Err(walk.fault("the nesting is too deep"));
                }
                walk.at += 1;
                walk.blanks();
                // '{' and '[' each stand two before their closing bracket
                if walk.peek() == first + 2 {
                    walk.at += 1;
                } else {
                    depth += 1;
                    kinds = kinds << 1 | u128::from(first == b'{');
                    if first == b'{' {
                        let key = walk.key()?;
                        if depth == 1 && !wanted.is_empty() {
                            open = member(&walk, key, wanted, found)?;
                        }
                    }
                    continue 'value;
                }
            }
            b'-' | b'0'..=b'9' => walk.number()?,
            b't' => walk.literal(b"true")?,
            b'f' => walk.literal(b"false")?,
            b'n' => walk.literal(b"null")?,
            _ => return Err(walk.fault("a value is expected")),
        }
        loop {
            if depth <= 1 {
                if let Some((slot, start)) = open.take()
                    && let Some(slot) = found.get_mut(slot)
                {
                    *slot = Some(Span { start, end: walk.at });
                }
                if depth == 0 {
                    return walk.end();
                }
            }
            walk.blanks();
            let in_object = kinds & 1 == 1;
            match walk.peek() {
                b',' => {
                    walk.at += 1;
                    walk.blanks();
                    if in_object {
                        let key = walk.key()?;
                        if depth == 1 && !wanted.is_empty() {
                            open = member(&walk, key, wanted, found)?;
                        }
                    }
                    continue 'value;
                }
                b'}' if in_object => {}
                b']' if !in_object => {}
                _ if in_object => return Err(walk.fault("a comma or a closing brace is expected")),
                _ => return Err(walk.fault("a comma or a closing bracket is expected")),
            }
            walk.at += 1;
            depth -= 1;
            kinds >>= 1;
        }
    }
}

/// A key's range without its quotes, and whether it holds escapes.
struct Key {
    span: Span,
    escaped: bool,
}

impl<R: Registers> Walk<'_, R> {
    /// The next byte; 0, which JSON has no use for, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Reads a key and its colon, up to the value.
    #[inline(always)]
    fn key(&mut self) -> Result<Key, Fault> {
        if self.peek() != b'"' {
            return Err(self.fault("a key is expected"));
        }
        self.at += 1;
        let start = self.at;
        let escaped = self.string()?;
        let key = Key { span: Span { start, end: self.at - 1 }, escaped };
        self.blanks();
        if self.peek() != b':' {
            return Err(self.fault("a colon is expected"));
        }
        self.at += 1;
        self.blanks();
        Ok(key)
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
        if self.text.get(self.at..self.at + word.len()) == Some(word) {
            self.at += word.len();
            return Ok(());
        }
        while word.first().is_some() && word.contains(&self.peek()) {
            self.at += 1;
        }
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

/// Whether a top-level key is wanted: its slot, and where its value starts.
#[cold]
fn member<R: Registers>(
    walk: &Walk<'_, R>,
    key: Key,
    wanted: &[&str],
    found: &[Option<Span>],
) -> Result<Option<(usize, usize)>, Fault> {
    let raw = key.span.of(walk.text);
    let slot = if key.escaped {
        let quoted = Span { start: key.span.start - 1, end: key.span.end + 1 };
        let plain: Option<String> = serde_json::from_slice(quoted.of(walk.text)).ok();
        wanted.iter().position(|name| Some(*name) == plain.as_deref())
    } else {
        wanted.iter().position(|name| name.as_bytes() == raw)
    };
    let Some(slot) = slot else { return Ok(None) };
    if found.get(slot).is_some_and(Option::is_some) {
        return Err(Fault { at: key.span.start - 1, what: "a member that is given twice" });
    }
    Ok(Some((slot, walk.at)))
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

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers, behind detection at run time")]
mod x86 {
    use std::arch::x86_64 as arch;

    use super::{Fault, Registers, Search, walk};

    pub(super) fn walk_avx2(
        text: &[u8],
        depth_max: usize,
        search: Search<'_>,
    ) -> Result<(), Fault> {
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        fn with_features(text: &[u8], depth_max: usize, search: Search<'_>) -> Result<(), Fault> {
            walk::<Avx2>(text, depth_max, search)
        }
        // SAFETY: an `Avx2Here` exists, so the features are there.
        unsafe { with_features(text, depth_max, search) }
    }

    pub(super) fn walk_avx512(
        text: &[u8],
        depth_max: usize,
        search: Search<'_>,
    ) -> Result<(), Fault> {
        #[target_feature(enable = "avx2,bmi1,bmi2,avx512f,avx512bw")]
        fn with_features(text: &[u8], depth_max: usize, search: Search<'_>) -> Result<(), Fault> {
            walk::<Avx512>(text, depth_max, search)
        }
        // SAFETY: an `Avx512Here` exists, so the features are there.
        unsafe { with_features(text, depth_max, search) }
    }

    struct Avx2;
    struct Avx512;

    impl Registers for Avx2 {
        const WIDTH: usize = 64;

        #[inline(always)]
        fn specials(text: &[u8], at: usize) -> u64 {
            let rest = text.get(at..).unwrap_or_default();
            if let Some(block) = rest.first_chunk::<64>() {
                // SAFETY: `walk_avx2` is the only user of this type, and has the features.
                return unsafe { specials_avx2(block) };
            }
            let mut block = [b' '; 64];
            if let Some(last) = text.last_chunk::<64>() {
                // SAFETY: as above.
                let specials = unsafe { specials_avx2(last) };
                // the last 64 bytes of the text begin before `at`
                return specials.checked_shr((64 - rest.len()) as u32).unwrap_or(0);
            }
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            // SAFETY: as above.
            unsafe { specials_avx2(&block) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn specials_avx2(block: &[u8; 64]) -> u64 {
        let low: *const u8 = block.as_ptr();
        // SAFETY: 32 of the block's 64 bytes.
        let first = unsafe { arch::_mm256_loadu_si256(low.cast()) };
        // SAFETY: the other 32; the pointer stays within the block.
        let second = unsafe { arch::_mm256_loadu_si256(low.wrapping_add(32).cast()) };
        u64::from(half_avx2(first)) | u64::from(half_avx2(second)) << 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn half_avx2(bytes: arch::__m256i) -> u32 {
        let quotes = arch::_mm256_cmpeq_epi8(bytes, arch::_mm256_set1_epi8(0x22));
        let backslashes = arch::_mm256_cmpeq_epi8(bytes, arch::_mm256_set1_epi8(0x5c));
        let last_control = arch::_mm256_set1_epi8(0x1f);
        let controls =
            arch::_mm256_cmpeq_epi8(arch::_mm256_max_epu8(bytes, last_control), last_control);
        let all = arch::_mm256_or_si256(arch::_mm256_or_si256(quotes, backslashes), controls);
        arch::_mm256_movemask_epi8(all).cast_unsigned()
    }

    impl Registers for Avx512 {
        const WIDTH: usize = 64;

        #[inline(always)]
        fn specials(text: &[u8], at: usize) -> u64 {
            // SAFETY: `walk_avx512` is the only user of this type, and has the features.
            unsafe { specials_avx512(text.get(at..).unwrap_or_default()) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,bmi2")]
    fn specials_avx512(rest: &[u8]) -> u64 {
        let there = if rest.len() >= 64 { u64::MAX } else { (1 << rest.len()) - 1 };
        // SAFETY: only bytes whose mask bit is set are read, and those are `rest`'s.
        let bytes = unsafe { arch::_mm512_maskz_loadu_epi8(there, rest.as_ptr().cast()) };
        let quotes = arch::_mm512_cmpeq_epi8_mask(bytes, arch::_mm512_set1_epi8(0x22));
        let backslashes = arch::_mm512_cmpeq_epi8_mask(bytes, arch::_mm512_set1_epi8(0x5c));
        let controls = arch::_mm512_cmplt_epu8_mask(bytes, arch::_mm512_set1_epi8(0x20));
        (quotes | backslashes | controls) & there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found() {
        let body =
            br#" {"messages":[{"model":"inner"}], "mod\u0065l" : "m/x" ,"n":null,"stream":true} "#;
        let [model, stream, absent] = scan(body, 128, &["model", "stream", "absent"]).unwrap();
        assert_eq!(model.unwrap().of(body), b"\"m/x\"");
        assert_eq!(stream.unwrap().of(body), b"true");
        assert_eq!(absent, None);
    }
}
