//! Where quoted texts, quoted names and comments begin and end in SQL, by the lexical rules of Postgres.
//!
//! The parser has its own lexer. Where it differs from Postgres, it takes for a text or a comment what Postgres runs:
//! `'a' ||-- '` is an operator and a comment for Postgres, and a longer operator and the begin of a text for the
//! parser. So a statement is only accepted if both find the same texts, names and comments.

use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Whitespace};

/// What stands between quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Name,
    Comment,
}

/// A quoted part of a statement, from its first quote to behind its last, in characters.
#[derive(Debug, PartialEq, Eq)]
struct Quoted {
    kind: Kind,
    start: usize,
    end: usize,
}

/// Whether Postgres finds the same texts, names and comments in a statement as the parser did.
///
/// It is `false` as well for a text that does not end, for a parameter such as `$1`, and for an `E'…'` that continues
/// on another line.
pub(super) fn is_read_alike(text: &str, tokens: &[TokenWithSpan]) -> bool {
    let text: Vec<char> = text.chars().collect();
    scan(&text).is_some_and(|found| found == parsed(&text, tokens))
}

/// What the parser's lexer found.
fn parsed(text: &[char], tokens: &[TokenWithSpan]) -> Vec<Quoted> {
    let breaks = text.iter().enumerate().filter(|(_, letter)| **letter == '\n').map(|(index, _)| index + 1);
    let lines: Vec<usize> = std::iter::once(0).chain(breaks).collect();
    let index = |location: Location| {
        let number = |value: u64| usize::try_from(value.saturating_sub(1)).unwrap_or(usize::MAX);
        lines.get(number(location.line)).map_or(usize::MAX, |line| line.saturating_add(number(location.column)))
    };
    let quoted = |token: &TokenWithSpan| {
        let (start, end) = (index(token.span.start), index(token.span.end));
        let kind = match &token.token {
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => Kind::Comment,
            Token::Word(word) if word.quote_style.is_some() => Kind::Name,
            Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_) => Kind::Text,
            // `x'1f'` is a text for Postgres, and `0x1f` is a number.
            Token::HexStringLiteral(_) if text.get(end.wrapping_sub(1)) == Some(&'\'') => Kind::Text,
            _ => return None,
        };
        // The letters of `E'…'` and `U&'…'` stand before the quote.
        let prefix = match kind {
            Kind::Text => text.get(start..end)?.iter().position(|letter| matches!(letter, '\'' | '$'))?,
            Kind::Name | Kind::Comment => 0,
        };
        Some(Quoted { kind, start: start + prefix, end })
    };
    tokens.iter().filter_map(quoted).collect()
}

/// What Postgres' lexer finds, or `None` if that depends on more than the text.
fn scan(text: &[char]) -> Option<Vec<Quoted>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&letter) = text.get(at) {
        let next = text.get(at + 1).copied();
        let quoted = match (letter, next) {
            ('-', Some('-')) => Some((Kind::Comment, line_comment(text, at))),
            ('/', Some('*')) => Some((Kind::Comment, block_comment(text, at)?)),
            ('\'', _) => Some((Kind::Text, quoted(text, at, '\'')?)),
            ('"', _) => Some((Kind::Name, quoted(text, at, '"')?)),
            ('$', _) => Some((Kind::Text, dollar_quoted(text, at)?)),
            ('e' | 'E', Some('\'')) => {
                at += 1;
                Some((Kind::Text, escaped(text, at)?))
            }
            _ => None,
        };
        if let Some((kind, end)) = quoted {
            found.push(Quoted { kind, start: at, end });
            at = end;
        } else if is_name_start(letter) {
            // A `$` within a name begins no text.
            at = end_of(text, at, is_name_part);
        } else {
            at += 1;
        }
    }
    Some(found)
}

fn is_name_start(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

fn is_name_part(letter: char) -> bool {
    is_name_start(letter) || letter.is_ascii_digit() || letter == '$'
}

/// The first place from `at` whose character is not `accepted`.
fn end_of(text: &[char], at: usize, accepted: impl Fn(char) -> bool) -> usize {
    at + text[at..].iter().take_while(|letter| accepted(**letter)).count()
}

fn line_comment(text: &[char], at: usize) -> usize {
    end_of(text, at, |letter| !matches!(letter, '\n' | '\r'))
}

/// The end of a comment, which may contain others.
fn block_comment(text: &[char], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match (text.get(at)?, text.get(at + 1)?) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// The end of `'…'` or `"…"`, in which a doubled quote stands for one.
fn quoted(text: &[char], start: usize, quote: char) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match (*text.get(at)? == quote, text.get(at + 1) == Some(&quote)) {
            (true, true) => at += 2,
            (true, false) => return Some(at + 1),
            (false, _) => at += 1,
        }
    }
}

/// The end of `E'…'`, in which a backslash stands for itself and the next character. `None` if it continues on another
/// line, where a backslash still has this meaning.
fn escaped(text: &[char], start: usize) -> Option<usize> {
    let mut at = start + 1;
    let end = loop {
        match (text.get(at)?, text.get(at + 1)) {
            ('\\', _) | ('\'', Some('\'')) => at += 2,
            ('\'', _) => break at + 1,
            _ => at += 1,
        }
    };
    let mut next = end;
    loop {
        next = end_of(text, next, char::is_whitespace);
        match text.get(next..next + 2) {
            Some(['-', '-']) => next = line_comment(text, next),
            _ if text.get(next) == Some(&'\'') => return None,
            _ => return Some(end),
        }
    }
}

/// The end of `$tag$…$tag$`.
fn dollar_quoted(text: &[char], start: usize) -> Option<usize> {
    let first = *text.get(start + 1)?;
    let tag = if is_name_start(first) {
        end_of(text, start + 1, |letter| is_name_part(letter) && letter != '$')
    } else {
        start + 1
    };
    if text.get(tag) != Some(&'$') {
        return None;
    }
    let delimiter = &text[start..=tag];
    let inside = text.get(tag + 1..)?;
    let length = inside.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(tag + 1 + length + delimiter.len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn is_alike(text: &str) -> bool {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location();
        tokens.is_ok_and(|tokens| is_read_alike(text, &tokens))
    }

    #[rstest]
    #[case("select 'it''s', E'it\\'s', $$it's$$, $a$ $$ ' $b$a$, U&'\\0041', n'a', b'01', x'1F', 0x1F")]
    #[case("select \"a\"\"b\", a$$b, größe -- it's\r\nfrom \"größe\" /* a /* 'nested' */ \" */ where a = -1")]
    #[case("select 'a'\n'b', 'größe\n', E'\\\\', 'c' -- at the end")]
    fn ordinary_quotes_are_read_alike(#[case] text: &str) {
        assert!(is_alike(text));
    }

    #[rstest]
    #[case::operator_with_line_comment("select 'a' ||-- '\n'b', pg_read_file($$a$$) -- '")]
    #[case::operator_with_block_comment("select 1 <@/* ' */ 2, pg_read_file($$a$$) /* ' */")]
    #[case::continued_text_with_escapes("select E'a'\n'b\\', ', pg_read_file($$a$$) -- '")]
    #[case::continued_after_a_comment("select E'a' -- c\n 'b\\', ', pg_read_file($$a$$) -- '")]
    #[case::bits_in_double_quotes("select 1 as b\"a\"")]
    #[case::tag_that_begins_with_a_digit("select $1$ ' $1$")]
    #[case::tag_of_a_symbol("select $€$ ' $€$, pg_read_file($$a$$), $€$ ' $€$")]
    #[case::parameter("select $1")]
    fn what_the_parser_reads_otherwise_is_refused(#[case] text: &str) {
        assert!(!is_alike(text));
    }
}
