//! Just enough JSON for a line in and a line out, without allocating.
//!
//! Reading happens in place: a string is never longer than the way it was written, so its text is
//! put down over its own escapes, and the caller gets slices of the line it brought. Everything
//! that RFC 8259 calls JSON is accepted, members that nobody asked for included; what it doesn't
//! is refused with the byte at which it stopped being JSON.

use core::fmt::{self, Write};
use core::ops::Range;
use core::str;

/// How deep arrays and objects may nest in a member that is passed over.
const MAX_DEPTH: usize = 64;

/// Reads an object and gives the strings that stand under `keys`, in the order of the keys.
///
/// A member that is missing or `null` gives `None`; of two with the same name the last counts; other
/// members are passed over. `line` holds the unescaped strings afterwards.
///
/// # Errors
/// When the line is not one JSON object in UTF-8, or when a member asked for is not a string, be it one of
/// two that does not count.
pub(crate) fn strings<'l, const N: usize>(
    line: &'l mut [u8],
    keys: [&'static str; N],
) -> Result<[Option<&'l str>; N], JsonError> {
    if let Err(error) = str::from_utf8(line) {
        return Err(JsonError::NotUtf8 {
            at: error.valid_up_to(),
        });
    }
    let mut reader = Reader { line, at: 0 };
    let mut found: [Option<Range<usize>>; N] = [const { None }; N];
    reader.members(|reader, key| {
        let place = keys
            .iter()
            .position(|k| k.as_bytes() == &reader.line[key.clone()]);
        match place {
            Some(place) => found[place] = reader.string_or_null(keys[place])?,
            None => reader.pass(MAX_DEPTH)?,
        }
        Ok(())
    })?;

    let line: &'l [u8] = line;
    let mut texts = [None; N];
    for (text, range) in texts.iter_mut().zip(found) {
        let Some(range) = range else { continue };
        let at = range.start;
        *text = Some(str::from_utf8(&line[range]).map_err(|_| JsonError::NotUtf8 { at })?);
    }
    Ok(texts)
}

/// A text to be tagged.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Words<'l> {
    /// As it stands under `text`.
    Plain(&'l str),
    /// The strings of the list under `tokens`, joined by one space.
    Split(&'l str),
}

/// Reads an object with a `text` or with `tokens`, which count where both are there; none of them
/// gives `None`. `ends` gets the byte behind each token, as many as it has room for without growing.
///
/// # Errors
/// As [`strings`], for a `text` beside `tokens` too, and when there are more tokens than room for their ends.
pub(crate) fn words<'l>(
    line: &'l mut [u8],
    ends: &mut Vec<u32>,
) -> Result<Option<Words<'l>>, JsonError> {
    if let Err(error) = str::from_utf8(line) {
        return Err(JsonError::NotUtf8 {
            at: error.valid_up_to(),
        });
    }
    let mut reader = Reader { line, at: 0 };
    let (mut text, mut tokens) = (None, None);
    reader.members(|reader, key| {
        match &reader.line[key] {
            b"text" => text = reader.string_or_null("text")?,
            b"tokens" => tokens = reader.list_or_null("tokens", ends)?,
            _ => reader.pass(MAX_DEPTH)?,
        }
        Ok(())
    })?;
    let line: &'l [u8] = line;
    let of = |range: Range<usize>| {
        let at = range.start;
        str::from_utf8(&line[range]).map_err(|_| JsonError::NotUtf8 { at })
    };
    Ok(match (tokens, text) {
        (Some(tokens), _) => Some(Words::Split(of(tokens)?)),
        (None, Some(text)) => Some(Words::Plain(of(text)?)),
        (None, None) => None,
    })
}

/// Writes `text` as a JSON string, quotes included. What isn't ASCII stays as it is.
pub(crate) fn write_string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.write_str(&text[plain..at])?;
        plain = at + 1;
        match byte {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            _ => write!(out, "\\u{byte:04x}")?,
        }
    }
    out.write_str(&text[plain..])?;
    out.write_char('"')
}

/// Writes the shortest number that reads back as the same `f32`; `null` for what JSON has no number.
pub(crate) fn write_number(out: &mut impl Write, number: f32) -> fmt::Result {
    if number.is_finite() {
        write!(out, "{number:?}")
    } else {
        out.write_str("null")
    }
}

/// Why a line was not read.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum JsonError {
    /// Something else was due at this byte of the line, counted from 0.
    Expected {
        /// What would have been right there.
        what: &'static str,
        /// The byte that is wrong.
        at: usize,
    },
    /// A control character stands in a string as it is, where JSON has it escaped.
    Control {
        /// The character.
        byte: u8,
        /// Where it stands.
        at: usize,
    },
    /// The bytes from here on are not UTF-8.
    NotUtf8 {
        /// The first of them.
        at: usize,
    },
    /// A member that has to be a string is something else.
    NotAString {
        /// Its name.
        key: &'static str,
    },
    /// A member that has to be a list of strings is something else.
    NotAList {
        /// Its name.
        key: &'static str,
    },
    /// A list of words that is too long.
    TooManyTokens {
        /// The most words.
        most: usize,
    },
    /// More than [`MAX_DEPTH`] arrays and objects inside each other.
    TooDeep,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Expected { what, at } => write!(f, "not JSON: {what} expected at byte {at}"),
            JsonError::Control { byte, at } => {
                write!(f, "not JSON: a control character at byte {at}; write ")?;
                match byte {
                    b'\t' => f.write_str("\\t")?,
                    _ => write!(f, "\\u{byte:04x}")?,
                }
                f.write_str(" for it in a string")
            }
            JsonError::NotUtf8 { at } => write!(f, "not UTF-8 from byte {at} on"),
            JsonError::NotAString { key } => write!(f, "\"{key}\" is not a string"),
            JsonError::NotAList { key } => write!(f, "\"{key}\" is not a list of strings"),
            JsonError::TooManyTokens { most } => write!(f, "more than {most} tokens"),
            JsonError::TooDeep => write!(f, "JSON nested deeper than {MAX_DEPTH}"),
        }
    }
}

impl core::error::Error for JsonError {}

/// A place in a line that is known to be UTF-8 as a whole.
struct Reader<'l> {
    line: &'l mut [u8],
    at: usize,
}

impl Reader<'_> {
    /// The whole line: an object. `member` is told each name and reads the value behind it.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Range<usize>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'{', "`{`")?;
        if !self.take(b'}') {
            loop {
                let key = self.key()?;
                member(self, key)?;
                if self.take(b'}') {
                    break;
                }
                self.expect(b',', "`,` or `}`")?;
            }
        }
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the line")),
        }
    }

    /// A member's name and the colon behind it.
    fn key(&mut self) -> Result<Range<usize>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a member's name in quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "`:`")?;
        Ok(key)
    }

    fn string_or_null(&mut self, key: &'static str) -> Result<Option<Range<usize>>, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(Some),
            Some(b'n') => self.literal("null").map(|()| None),
            _ => {
                self.pass(MAX_DEPTH)?;
                Err(JsonError::NotAString { key })
            }
        }
    }

    /// A list of strings, whose texts are left joined by one space at the range that comes back.
    fn list_or_null(
        &mut self,
        key: &'static str,
        ends: &mut Vec<u32>,
    ) -> Result<Option<Range<usize>>, JsonError> {
        ends.clear();
        match self.peek() {
            Some(b'[') => {}
            Some(b'n') => return self.literal("null").map(|()| None),
            _ => {
                self.pass(MAX_DEPTH)?;
                return Err(JsonError::NotAList { key });
            }
        }
        self.at += 1;
        let start = self.at;
        let mut end = start;
        if self.take(b']') {
            return Ok(Some(start..end));
        }
        loop {
            if self.peek() != Some(b'"') {
                self.pass(MAX_DEPTH)?;
                return Err(JsonError::NotAList { key });
            }
            let token = self.string()?;
            // What is behind `end` has been read; the token's quotes leave room for the space.
            if !ends.is_empty() {
                self.line[end] = b' ';
                end += 1;
            }
            let len = token.len();
            self.line.copy_within(token, end);
            end += len;
            if ends.len() == ends.capacity() {
                let most = ends.len();
                return Err(JsonError::TooManyTokens { most });
            }
            ends.push((end - start) as u32);
            if self.take(b']') {
                return Ok(Some(start..end));
            }
            self.expect(b',', "`,` or `]`")?;
        }
    }

    /// Any value, checked and forgotten.
    fn pass(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => self.pass_all(b'}', "`,` or `}`", depth),
            Some(b'[') => self.pass_all(b']', "`,` or `]`", depth),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a value")),
        }
    }

    /// An object or array up to the bracket `close`.
    fn pass_all(&mut self, close: u8, next: &'static str, depth: usize) -> Result<(), JsonError> {
        let depth = depth.checked_sub(1).ok_or(JsonError::TooDeep)?;
        self.at += 1;
        if self.take(close) {
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.key()?;
            }
            self.pass(depth)?;
            if self.take(close) {
                return Ok(());
            }
            self.expect(b',', next)?;
        }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.line[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    /// `-`, digits without a leading zero, a fraction, an exponent; the last two may be missing.
    fn number(&mut self) -> Result<(), JsonError> {
        self.at += usize::from(self.here() == Some(b'-'));
        if self.here() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.here() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.here() {
            self.at += 1;
            self.at += usize::from(matches!(self.here(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.here() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.expected("a digit"));
        }
        Ok(())
    }

    /// A string, from its opening quote on. Its text is left at the range that comes back.
    fn string(&mut self) -> Result<Range<usize>, JsonError> {
        let start = self.at + 1;
        let mut end = start;
        self.at = start;
        loop {
            match self.here() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..end);
                }
                Some(b'\\') => {
                    let mut utf8 = [0; 4];
                    let text = self.escape()?.encode_utf8(&mut utf8).as_bytes();
                    // An escape takes at least two bytes for one and six for up to three, and a
                    // pair of surrogates twelve for four: never more than it was written with.
                    self.line[end..end + text.len()].copy_from_slice(text);
                    end += text.len();
                }
                Some(byte) if byte >= b' ' => {
                    self.line[end] = byte;
                    end += 1;
                    self.at += 1;
                }
                Some(byte) => return Err(JsonError::Control { byte, at: self.at }),
                None => return Err(self.expected("a closing quote")),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let character = match self.here() {
            Some(quoted @ (b'"' | b'\\' | b'/')) => char::from(quoted),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.expected("one of \"\\/bfnrtu")),
        };
        self.at += 1;
        Ok(character)
    }

    /// `uXXXX`, or two of them that make a character beyond the sixteen bits of one.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hexadecimal()?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !self.line[self.at..].starts_with(b"\\u") {
                    return Err(self.expected("the second half of a surrogate pair"));
                }
                self.at += 1;
                let at = self.at;
                match self.hexadecimal()? {
                    second @ 0xDC00..=0xDFFF => {
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    _ => {
                        let what = "the second half of a surrogate pair";
                        return Err(JsonError::Expected { what, at });
                    }
                }
            }
            _ => first,
        };
        let what = "the first half of a surrogate pair";
        let at = self.at;
        char::from_u32(code).ok_or(JsonError::Expected { what, at })
    }

    /// The four digits behind a `u`.
    fn hexadecimal(&mut self) -> Result<u32, JsonError> {
        self.at += 1;
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.here().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.expected("a hexadecimal digit"))?;
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn here(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.here() {
            self.at += 1;
        }
        self.here()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    fn expected(&self, what: &'static str) -> JsonError {
        JsonError::Expected { what, at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const KEYS: [&str; 2] = ["text", "text_pair"];

    fn read(line: &str) -> Result<[Option<String>; 2], JsonError> {
        let mut line = line.as_bytes().to_vec();
        strings(&mut line, KEYS).map(|texts| texts.map(|text| text.map(str::to_owned)))
    }

    fn text(line: &str) -> Result<String, JsonError> {
        read(line).map(|[text, _]| text.expect("a text"))
    }

    #[test]
    fn members_are_found_in_any_order_among_others() {
        let line = r#" { "id" : [1, -0.5e+3, {"a": {}}, [] , true,false,null ], "text_pair":"b" , "text" : "a"} "#;
        assert_eq!(read(line), Ok([Some("a".into()), Some("b".into())]));
        assert_eq!(read("{}"), Ok([None, None]));
        assert_eq!(
            read(r#"{"text":"","text_pair":null}"#),
            Ok([Some("".into()), None])
        );
        assert_eq!(
            text(r#"{"text":"a","text":"b"}"#),
            Ok("b".into()),
            "the last one counts"
        );
        assert_eq!(
            text(r#"{"te\u0078t":"a"}"#),
            Ok("a".into()),
            "names are unescaped too"
        );
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(
            text(r#"{"text":"\"\\\/\b\f\n\r\tA\u0041\u00e9\u20AC\ud83d\uDE00é€😀"}"#),
            Ok("\"\\/\u{8}\u{c}\n\r\tAAé€😀é€😀".into())
        );
        assert_eq!(text(r#"{"text":"\u0000\u001f"}"#), Ok("\0\u{1f}".into()));
        assert_eq!(
            text(r#"{"text":"\udbff\udfff\ud800\udc00"}"#),
            Ok("\u{10ffff}\u{10000}".into())
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        for broken in [
            r#"{"text":"\ud83d"}"#,
            r#"{"text":"\ud83dx"}"#,
            r#"{"text":"\ud83d\n"}"#,
            r#"{"text":"\ud83d\ud83d"}"#,
            r#"{"text":"\ude00"}"#,
            r#"{"text":"\ude00\ud83d"}"#,
        ] {
            let error = read(broken).unwrap_err().to_string();
            assert!(
                error.contains("half of a surrogate pair"),
                "{broken}: {error}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_refused_at_its_byte() {
        for (line, what, at) in [
            ("", "`{`", 0),
            ("[]", "`{`", 0),
            ("{", "a member's name in quotes", 1),
            ("{text:1}", "a member's name in quotes", 1),
            (r#"{"text"}"#, "`:`", 7),
            (r#"{"text":"a"} x"#, "the end of the line", 13),
            (r#"{"text":"a",}"#, "a member's name in quotes", 12),
            (r#"{"text":"a" "b"}"#, "`,` or `}`", 12),
            (r#"{"text":"a"#, "a closing quote", 10),
            (r#"{"text":"\x"}"#, "one of \"\\/bfnrtu", 10),
            (r#"{"text":"\u12g4"}"#, "a hexadecimal digit", 13),
            (r#"{"text":"\u+123"}"#, "a hexadecimal digit", 11),
            (r#"{"a":[1 2]}"#, "`,` or `]`", 8),
            (r#"{"a":01}"#, "`,` or `}`", 6),
            (r#"{"a":1.}"#, "a digit", 7),
            (r#"{"a":-}"#, "a digit", 6),
            (r#"{"a":1e+}"#, "a digit", 8),
            (r#"{"a":nul}"#, "null", 5),
            (r#"{"text":nope}"#, "null", 8),
            (r#"{"a":}"#, "a value", 5),
            (r#"{"a":{"b":}}"#, "a value", 10),
        ] {
            assert_eq!(read(line), Err(JsonError::Expected { what, at }), "{line}");
        }
        for other in ["1", "[\"a\"]", "{\"a\":0}", "true"] {
            let line = format!("{{\"text\":{other}}}");
            assert_eq!(
                read(&line),
                Err(JsonError::NotAString { key: "text" }),
                "{line}"
            );
        }
    }

    #[test]
    fn a_raw_control_character_is_refused_with_its_escape() {
        for (line, said) in [
            (
                "{\"text\":\"a\tb\"}",
                "at byte 10; write \\t for it in a string",
            ),
            (
                "{\"text\":\"\0\"}",
                "at byte 9; write \\u0000 for it in a string",
            ),
            (
                "{\"te\u{1f}xt\":\"a\"}",
                "at byte 4; write \\u001f for it in a string",
            ),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert_eq!(error, format!("not JSON: a control character {said}"));
        }
    }

    #[test]
    fn a_member_has_to_be_what_it_is_asked_for_even_where_another_counts() {
        let error = JsonError::NotAString { key: "text" };
        assert_eq!(read(r#"{"text":5,"text":"a"}"#), Err(error));
        let words = |line: &str| {
            let mut line = line.as_bytes().to_vec();
            words(&mut line, &mut Vec::with_capacity(4))
                .map(|words| words == Some(Words::Split("a")))
        };
        assert_eq!(words(r#"{"tokens":["a"],"text":"b"}"#), Ok(true));
        assert_eq!(words(r#"{"tokens":["a"],"text":5}"#), Err(error));
    }

    #[test]
    fn every_cut_of_a_line_is_refused() {
        let line = r#"{"text":"a\ud83d\ude00","n":[-1.5e3,{"k":null}],"text_pair":"é"}"#;
        assert!(read(line).is_ok());
        for cut in 0..line.len() {
            let mut line = line.as_bytes()[..cut].to_vec();
            assert!(strings(&mut line, KEYS).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_full_parser_takes_and_refuses_the_same_lines() {
        let seeds = [
            r#"{"text":"a\ud83d\ude00\n","n":[-1.5,{"k":null},true],"text_pair":"é"}"#,
            r#" { "a" : { } , "text" : "\u00e9\\" , "text" : "b" , "x" : [ ] , "y" : 0.25 } "#,
        ];
        let odd = br#""\{}[]:,u0dDe-.+tfn "#;
        let mut state = 1u64;
        let mut below = |end: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % end
        };
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..200_000 {
            let mut line = seeds[below(2)].as_bytes().to_vec();
            for _ in 0..1 + below(3) {
                let (at, byte) = (below(line.len()), odd[below(odd.len())]);
                match below(3) {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    _ => drop(line.remove(at)),
                }
            }
            let expected = match serde_json::from_slice::<Value>(&line) {
                Ok(Value::Object(members)) => Some(members),
                Err(error) if error.to_string().starts_with("number out of range") => continue,
                _ => None,
            };
            let shown = String::from_utf8_lossy(&line).into_owned();
            match (strings(&mut line, KEYS), expected) {
                (Ok(texts), Some(members)) => {
                    taken += 1;
                    for (text, key) in texts.iter().zip(KEYS) {
                        let member = members.get(key).filter(|value| !value.is_null());
                        assert_eq!(*text, member.and_then(Value::as_str), "{shown}");
                    }
                }
                (Err(JsonError::NotAString { key }), Some(members)) => {
                    assert!(members.contains_key(key), "{shown}");
                }
                (Err(_), None) => refused += 1,
                (found, expected) => panic!("{shown}: {found:?}, but {expected:?}"),
            }
        }
        assert!(
            taken > 10_000 && refused > 10_000,
            "{taken} taken, {refused} refused"
        );
    }

    #[test]
    fn nesting_has_a_bound_and_no_deep_stack() {
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read(&nested(MAX_DEPTH)), Ok([None, None]));
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        assert_eq!(read(&nested(400_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let mut line = b"{\"text\":\"\xff\"}".to_vec();
        assert_eq!(strings(&mut line, KEYS), Err(JsonError::NotUtf8 { at: 9 }));
    }

    #[test]
    fn written_strings_read_back() {
        let all: String = (0..=0x2ff)
            .chain([0x2028, 0xffff, 0x1f600])
            .filter_map(char::from_u32)
            .collect();
        let mut line = String::from("{\"text\":");
        write_string(&mut line, &all).unwrap();
        line.push('}');
        assert_eq!(text(&line), Ok(all));
        let mut line = String::new();
        write_string(&mut line, "a\"b\\c\nd\u{1}é").unwrap();
        assert_eq!(line, r#""a\"b\\c\nd\u0001é""#);
    }

    #[test]
    fn written_numbers_are_the_shortest_that_read_back() {
        let written = |number| {
            let mut out = String::new();
            write_number(&mut out, number).unwrap();
            out
        };
        assert_eq!(written(0.1), "0.1");
        assert_eq!(written(1.0), "1.0");
        assert_eq!(written(-0.99999994), "-0.99999994");
        assert_eq!(written(1.5e-7), "1.5e-7");
        assert_eq!(written(f32::MAX), "3.4028235e38");
        assert_eq!(written(f32::NAN), "null");
        assert_eq!(written(f32::NEG_INFINITY), "null");
        for bits in (0..u32::MAX).step_by(65_537) {
            let number = f32::from_bits(bits);
            if number.is_finite() {
                assert_eq!(written(number).parse::<f32>().unwrap().to_bits(), bits);
            }
        }
    }
}
