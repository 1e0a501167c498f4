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

use std::sync::OnceLock;

use crate::wire::json_walk::{Registers, Search, walk};

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

    /// A short name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Word => "word",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }

    fn best() -> Self {
        static BEST: OnceLock<Lane> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().pop().unwrap_or(Self::Word))
    }
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

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers, behind detection at run time")]
mod x86 {
    use std::arch::x86_64 as arch;

    use crate::wire::json_scan::Fault;
    use crate::wire::json_walk::{Registers, Search, walk};

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

    pub(super) struct Avx2;
    pub(super) struct Avx512;

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
                return specials.unbounded_shr(u32::try_from(64 - rest.len()).unwrap_or(64));
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

    fn found<'t, const N: usize>(body: &'t str, wanted: &[&str; N]) -> [Option<&'t str>; N] {
        let spans = scan(body.as_bytes(), DEPTH_MAX, wanted).unwrap();
        spans.map(|span| span.map(|span| std::str::from_utf8(span.of(body.as_bytes())).unwrap()))
    }

    /// The fault's offset and rule, the same in every lane.
    fn fault(text: impl AsRef<[u8]>) -> (usize, &'static str) {
        let faults: Vec<_> = Lane::all()
            .into_iter()
            .map(|lane| validate_with(lane, text.as_ref(), DEPTH_MAX).unwrap_err())
            .collect();
        assert!(faults.iter().all(|fault| *fault == faults[0]), "{faults:?}");
        (faults[0].at, faults[0].what)
    }

    #[test]
    fn top_level_members_are_found_whatever_surrounds_them() {
        let body = r#" {"messages":[{"model":"inner","stream":1}], "mod\u0065l" : "m/x" ,
            "n":null,"tool":{"model":2},"stream":true} "#;
        assert_eq!(
            found(body, &["model", "stream", "absent", "tool"]),
            [Some("\"m/x\""), Some("true"), None, Some(r#"{"model":2}"#)]
        );
        assert_eq!(
            found(r#"{"a":[ ],"b":{ },"c":-1.5e+3}"#, &["a", "b", "c"]),
            [Some("[ ]"), Some("{ }"), Some("-1.5e+3")]
        );
        assert_eq!(found("{}", &["a"]), [None]);
        assert_eq!(found(r#"{"":7}"#, &[""]), [Some("7")]);
    }

    #[test]
    fn a_wanted_member_given_twice_is_a_fault() {
        let twice = r#"{"model":"cheap","x":1,"x":2,"\u006dodel":"dear"}"#;
        let refused = scan(twice.as_bytes(), DEPTH_MAX, &["model"]).unwrap_err();
        assert_eq!((refused.at, refused.what), (29, "a member that is given twice"));
        assert_eq!(found(twice, &["other"]), [None]);
    }

    #[test]
    fn only_an_object_can_be_a_body() {
        for text in ["[]", "1", "\"{}\"", " null", "", "  "] {
            assert!(scan(text.as_bytes(), DEPTH_MAX, &["a"]).is_err(), "{text:?}");
        }
        assert_eq!(
            scan(b" [{}]", DEPTH_MAX, &[]).unwrap_err(),
            Fault { at: 1, what: "the body must be a JSON object" }
        );
    }

    #[test]
    fn the_first_bad_byte_is_named() {
        let early = "the text ends too early";
        let cases: [(&str, usize, &str); 41] = [
            ("", 0, early),
            (" ", 1, early),
            ("[", 1, early),
            ("[1", 2, early),
            ("[1,", 3, early),
            ("{\"a", 3, early),
            ("{\"a\"", 4, early),
            ("{\"a\":", 5, early),
            ("\"a\\", 3, early),
            ("\"\\u00", 5, early),
            ("tru", 3, early),
            ("-", 1, early),
            ("1.", 2, early),
            ("1e", 2, early),
            ("1e+", 3, early),
            ("[1,]", 3, "a value is expected"),
            ("{\"a\":1,}", 7, "a key is expected"),
            ("{a:1}", 1, "a key is expected"),
            ("{'a':1}", 1, "a key is expected"),
            ("{\"a\" 1}", 5, "a colon is expected"),
            ("[1 2]", 3, "a comma or a closing bracket is expected"),
            ("[1}", 2, "a comma or a closing bracket is expected"),
            ("{\"a\":1]", 6, "a comma or a closing brace is expected"),
            ("[}", 1, "a value is expected"),
            ("{]", 1, "a key is expected"),
            ("01", 1, "something follows the value"),
            ("[01]", 2, "a comma or a closing bracket is expected"),
            ("[1.]", 3, "a digit is expected"),
            ("[.5]", 1, "a value is expected"),
            ("[+1]", 1, "a value is expected"),
            ("[-a]", 2, "a digit is expected"),
            ("[1e5.2]", 4, "a comma or a closing bracket is expected"),
            ("NaN", 0, "a value is expected"),
            ("[nul1]", 4, "only true, false and null are words"),
            ("[truefalse]", 5, "a comma or a closing bracket is expected"),
            ("{} {}", 3, "something follows the value"),
            ("1\0", 1, "something follows the value"),
            ("[\"a\nb\"]", 3, "a control byte in a string must be escaped"),
            ("\"\\x\"", 2, "an escape that JSON does not know"),
            ("\"\\u12g4\"", 5, "a hex digit is expected"),
            ("\u{feff}{}", 0, "a value is expected"),
        ];
        for (text, at, what) in cases {
            assert_eq!(fault(text), (at, what), "{text:?}");
        }
    }

    #[test]
    fn halves_of_surrogate_pairs_are_refused() {
        for text in [
            r#""ab\ud800""#,
            r#""ab\udc00""#,
            r#""ab\ud800\u0041""#,
            r#""ab\ud800x""#,
            r#""ab\ud800\n""#,
            r#""ab\uDBFF\uDBFF""#,
        ] {
            assert_eq!(fault(text), (3, "half a surrogate pair"), "{text}");
        }
        assert_eq!(validate(br#""\ud83e\udd16""#, DEPTH_MAX), Ok(()));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert_eq!(fault(b"\"ab\xff\""), (3, "a byte is not UTF-8"));
        assert_eq!(fault(b"\"\xed\xa0\x80\""), (1, "a byte is not UTF-8"));
        assert_eq!(fault(b"{\"a\":1}\xc3"), (7, "a byte is not UTF-8"));
    }

    #[test]
    fn nesting_ends_where_it_is_told() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(validate(nested(128).as_bytes(), DEPTH_MAX), Ok(()));
        assert_eq!(fault(nested(129)), (128, "the nesting is too deep"));
        assert_eq!(fault("[".repeat(1 << 20)), (128, "the nesting is too deep"));
        assert!(validate(nested(4).as_bytes(), 3).is_err());
        assert!(validate(nested(500).as_bytes(), 1000).is_err(), "the cap is DEPTH_MAX");
        assert!(validate(b"1", 0).is_ok() && validate(b"[]", 0).is_err());
        let objects = "{\"a\":[".repeat(64) + &"]}".repeat(64);
        assert_eq!(validate(objects.as_bytes(), DEPTH_MAX), Ok(()));
    }

    #[test]
    fn a_special_byte_is_seen_at_every_offset() {
        for len in 0..200 {
            let text = |middle: &str| format!("[\"{}{middle}\",1]", "a".repeat(len));
            assert_eq!(fault(text("\u{1f}")).0, len + 2);
            assert_eq!(fault(text("\"")), (len + 3, "a comma or a closing bracket is expected"));
            assert_eq!(fault(text("\\")).1, "the text ends too early");
            for lane in Lane::all() {
                let fine = text("\\\"\\\\\u{7f}\u{20ac}");
                assert_eq!(validate_with(lane, fine.as_bytes(), DEPTH_MAX), Ok(()), "{len}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn all_lanes_mark_the_same_bytes(text: Vec<u8>, at in 0_usize..300) {
            let expected = |width: usize| {
                let rest = text.get(at..).unwrap_or_default().iter().take(width);
                rest.enumerate().fold(0_u64, |bits, (nth, &byte)| {
                    bits | u64::from(byte < 0x20 || byte == b'"' || byte == b'\\') << nth
                })
            };
            proptest::prop_assert_eq!(Word::specials(&text, at), expected(8));
            #[cfg(target_arch = "x86_64")]
            for lane in Lane::all() {
                match lane {
                    Lane::Word => {}
                    Lane::Avx2(_) => {
                        proptest::prop_assert_eq!(x86::Avx2::specials(&text, at), expected(64));
                    }
                    Lane::Avx512(_) => {
                        proptest::prop_assert_eq!(x86::Avx512::specials(&text, at), expected(64));
                    }
                }
            }
        }
    }
}
