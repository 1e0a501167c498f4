//! Appends JSON to a byte buffer.
//!
//! In: text, numbers, raw values. Out: minified JSON at the buffer's end. Never: allocates beside
//! the buffer's own growth, or checks that members and commas are balanced beyond what
//! [`Object`] and [`Array`] guarantee.

/// Appends `text` as a JSON string with its quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends `text` escaped, without quotes: to join pieces into one string.
pub fn escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(at) = special(rest) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = from.split_first() else { return };
        rest = after;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Where the first byte stands that must be escaped. Blocks without one, which is most of them,
/// are passed over by the register.
fn special(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let must = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let clean = |block: &&[u8]| !block.iter().fold(false, |any, &byte| any | must(byte));
    let passed = bytes.chunks_exact(BLOCK).take_while(clean).count() * BLOCK;
    let rest = bytes.get(passed..)?;
    rest.iter().position(|&byte| must(byte)).map(|at| passed + at)
}

pub fn unsigned(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// An object being written: puts the commas, closes itself with [`Object::end`].
#[derive(Debug)]
#[must_use = "call `end` to close the object"]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }
    /// Writes `"name":` and gives the buffer to write the value to.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        string(self.out, name);
        self.out.push(b':');
        self.out
    }
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        string(self.key(name), value);
        self
    }
    pub fn raw(&mut self, name: &str, value: &str) -> &mut Self {
        self.key(name).extend_from_slice(value.as_bytes());
        self
    }
    pub fn unsigned(&mut self, name: &str, value: u64) -> &mut Self {
        unsigned(self.key(name), value);
        self
    }
    pub fn boolean(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }
    pub fn null(&mut self, name: &str) -> &mut Self {
        self.raw(name, "null")
    }
    pub fn object(&mut self, name: &str) -> Object<'_> {
        Object::begin(self.key(name))
    }
    pub fn array(&mut self, name: &str) -> Array<'_> {
        Array::begin(self.key(name))
    }
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// An array being written, as [`Object`].
#[derive(Debug)]
#[must_use = "call `end` to close the array"]
pub struct Array<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Array<'o> {
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, first: true }
    }
    /// Writes the comma and gives the buffer to write the element to.
    pub fn item(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }
    pub fn text(&mut self, value: &str) -> &mut Self {
        string(self.item(), value);
        self
    }
    pub fn raw(&mut self, value: &str) -> &mut Self {
        self.item().extend_from_slice(value.as_bytes());
        self
    }
    pub fn object(&mut self) -> Object<'_> {
        Object::begin(self.item())
    }
    pub fn is_empty(&self) -> bool {
        self.first
    }
    pub fn end(self) {
        self.out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn strings_read_back_equal(text: String) {
            let mut out = Vec::new();
            string(&mut out, &text);
            let read: String = serde_json::from_slice(&out).unwrap();
            proptest::prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn members_and_elements_are_separated() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "x\u{1}").unsigned("b", 7).null("c");
        let mut array = object.array("d");
        array.raw("1").text("y");
        array.object().end();
        array.end();
        object.end();
        assert_eq!(out, br#"{"a":"x\u0001","b":7,"c":null,"d":[1,"y",{}]}"#);
    }
}
