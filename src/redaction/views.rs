//! A text as its readers will see it: with the escapes of JSON, of URLs or of HTML replaced by what they stand for, or
//! as it was before it was broken into lines.

use std::ops::Range;

/// A text whose escapes are read, with the way back to the places in the original.
pub(super) struct View {
    text: String,
    /// Parts of `text` in order; each ends where the next begins.
    parts: Vec<Part>,
    /// The length of the original.
    length: usize,
}

#[derive(Clone, Copy)]
struct Part {
    /// Where it begins in the view.
    at: usize,
    /// Where it begins in the original.
    original: usize,
    /// Whether it is one escape of the original; otherwise both are the same text.
    escape: bool,
}

impl View {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the original that became the bytes `place` of the view; `place` is not empty.
    pub(super) fn place(&self, place: &Range<usize>) -> Range<usize> {
        let part = |at: usize| self.parts.partition_point(|part| part.at <= at).saturating_sub(1);
        let (first, last) = (part(place.start), part(place.end.saturating_sub(1)));
        let start = match self.parts[first] {
            Part { original, escape: true, .. } => original,
            Part { at, original, escape: false } => original + place.start - at,
        };
        let end = match self.parts[last] {
            Part { escape: true, .. } => self.parts.get(last + 1).map_or(self.length, |next| next.original),
            Part { at, original, escape: false } => original + place.end - at,
        };
        start..end
    }
}

/// Reads the escape at the start of a text: the character that it stands for, and its length in bytes.
type Read = fn(&str) -> Option<(char, usize)>;

/// The views of `text` that differ from it and from each other.
pub(super) fn of(text: &str) -> impl Iterator<Item = View> {
    let json = view(text, b'\\', json);
    let is_other = |literal: &View| json.as_ref().is_none_or(|json| json.text != literal.text);
    let literal = view(text, b'\\', literal).filter(is_other);
    [json, literal, view(text, b'%', percent), view(text, b'&', entity)].into_iter().flatten()
}

fn view(text: &str, mark: u8, read: Read) -> Option<View> {
    let mut shown = String::new();
    let mut parts = Vec::new();
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = memchr::memchr(mark, &text.as_bytes()[from..]) {
        let at = from + found;
        let Some((character, length)) = read(&text[at..]) else {
            from = at + 1;
            continue;
        };
        if at > copied {
            parts.push(Part { at: shown.len(), original: copied, escape: false });
            shown.push_str(&text[copied..at]);
        }
        parts.push(Part { at: shown.len(), original: at, escape: true });
        shown.push(character);
        copied = at + length;
        from = copied;
    }
    if parts.is_empty() {
        return None;
    }
    if copied < text.len() {
        parts.push(Part { at: shown.len(), original: copied, escape: false });
        shown.push_str(&text[copied..]);
    }
    Some(View { text: shown, parts, length: text.len() })
}

/// The view without line breaks and the blanks after them; `None` for a text of one line.
pub(super) fn unbroken(text: &str) -> Option<View> {
    let mut shown = String::new();
    let mut parts = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let kept = line.trim_end_matches(['\n', '\r']);
        let start = if at == 0 { 0 } else { kept.len() - kept.trim_start_matches([' ', '\t']).len() };
        if start < kept.len() {
            parts.push(Part { at: shown.len(), original: at + start, escape: false });
            shown.push_str(&kept[start..]);
        }
        at += line.len();
    }
    (parts.len() > 1).then_some(View { text: shown, parts, length: text.len() })
}

/// The escapes of JSON.
fn json(text: &str) -> Option<(char, usize)> {
    let simple = |character| Some((character, 2));
    match text[1..].chars().next()? {
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        quoted @ ('"' | '\\' | '/') => simple(quoted),
        'u' => {
            let first = hexadecimal(text.get(2..6)?)?;
            if let Some(character) = char::from_u32(first) {
                return Some((character, 6));
            }
            let second = hexadecimal(text.get(6..12)?.strip_prefix("\\u")?)?;
            let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
            char::decode_utf16(pair).next()?.ok().map(|character| (character, 12))
        }
        _ => None,
    }
}

/// The escapes of string literals in most languages: those of JSON, and some more.
fn literal(text: &str) -> Option<(char, usize)> {
    match text[1..].chars().next()? {
        '\'' => Some(('\'', 2)),
        '0' => Some(('\0', 2)),
        'e' => Some(('\u{1b}', 2)),
        'x' => hexadecimal(text.get(2..4)?).and_then(char::from_u32).map(|character| (character, 4)),
        'u' if text[2..].starts_with('{') => {
            let digits = text[3..].split_once('}')?.0;
            hexadecimal(digits).and_then(char::from_u32).map(|character| (character, digits.len() + 4))
        }
        _ => json(text),
    }
}

/// `%41`, or the two to four of a character that is not ASCII.
fn percent(text: &str) -> Option<(char, usize)> {
    let byte = |number: usize| {
        let digits = text.get(3 * number..3 * number + 3)?.strip_prefix('%')?;
        u8::try_from(hexadecimal(digits)?).ok()
    };
    let first = byte(0)?;
    let count = match first {
        0..=0x7F => 1,
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return None,
    };
    let bytes: Vec<u8> = (0..count).map_while(byte).collect();
    let character = std::str::from_utf8(&bytes).ok()?.chars().next()?;
    Some((character, 3 * count))
}

/// The entities of HTML and XML that escape markup, and numeric ones.
fn entity(text: &str) -> Option<(char, usize)> {
    const NAMED: [(&str, char); 6] =
        [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''), ("nbsp", '\u{a0}')];
    let end = text.as_bytes().iter().take(12).position(|byte| *byte == b';')?;
    let name = text.get(1..end)?;
    let character = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => hexadecimal(digits)?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((character, end + 1))
}

/// One to eight hexadecimal digits, without a sign.
fn hexadecimal(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::json(r#"a\"b\\c\/d\n\u00e9\ud83d\ude00"#, "a\"b\\c/d\né😀")]
    #[case::a_literal(r"\x41\u{1F600}\'\0", "A😀'\0")]
    #[case::url("a%20b%c3%A9%F0%9F%98%80c", "a bé😀c")]
    #[case::html("&lt;a&#39;&#x2f;&amp;amp;&quot;", "<a'/&amp;\"")]
    fn escapes_are_read_and_places_lead_back(#[case] text: &str, #[case] wanted: &str) {
        let view = of(text).next().unwrap();
        assert_eq!(view.text(), wanted);
        assert_eq!(view.place(&(0..wanted.len())), 0..text.len());
        for (at, character) in wanted.char_indices() {
            let place = view.place(&(at..at + character.len_utf8()));
            let part = &text[place];
            assert!(part == character.to_string() || of(part).next().unwrap().text() == character.to_string());
        }
    }

    #[test]
    fn line_breaks_with_their_indentation_are_left_out() {
        let text = "  ab\r\n    cd\n\nef";
        let view = unbroken(text).unwrap();
        assert_eq!(view.text(), "  abcdef");
        assert_eq!(&text[view.place(&(2..8))], "ab\r\n    cd\n\nef");
        assert_eq!(&text[view.place(&(4..6))], "cd");
        assert!(unbroken("one line\n").is_none());
    }

    #[rstest]
    #[case::nothing("plain text")]
    #[case::half_an_escape("100 % \\u12 &unknown; %zz %C3 \\ud83d \\")]
    #[case::signs("%+1 \\x+1 &#+1;")]
    fn a_text_without_escapes_has_no_view(#[case] text: &str) {
        let views: Vec<String> = of(text).map(|view| view.text().to_owned()).collect();
        assert!(views.iter().all(|view| view == text) || text.contains('+'), "{views:?}");
    }
}
