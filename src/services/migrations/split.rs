//! Splits SQL into statements, at semicolons outside of quotes, comments, dollar quotes and `BEGIN ATOMIC` bodies, like
//! PostgreSQL's lexer (PostgreSQL documentation, 4.1 Lexical Structure).

/// One statement, without the semicolon that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, with the comments before it.
    pub text: String,
    /// The line of the file on which it starts, from 1.
    pub line: usize,
}

/// Splits `text`. Empty statements are left out.
#[must_use]
pub fn split(text: &str) -> Vec<Statement> {
    let text = text.trim_start_matches('\u{feff}');
    let bytes = text.as_bytes();
    let mut statements = Vec::new();
    let (mut begun, mut at) = (0, 0);
    let mut atomic = Atomic::default();
    while at < bytes.len() {
        match bytes[at] {
            b'\'' => at = quoted(bytes, at, is_escape_string(bytes, at)),
            b'"' => at = quoted(bytes, at, false),
            b'-' if bytes.get(at + 1) == Some(&b'-') => at = line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => at = comment_end(bytes, at),
            b'$' if !follows_word(bytes, at) => at = dollar_end(text, at),
            b';' if !atomic.is_inside() => {
                push(&mut statements, text, begun, at);
                atomic = Atomic::default();
                at += 1;
                begun = at;
            }
            letter if letter.is_ascii_alphabetic() || letter == b'_' => {
                let end = word_end(bytes, at);
                atomic.word(&text[at..end]);
                at = end;
            }
            _ => at += 1,
        }
    }
    push(&mut statements, text, begun, bytes.len());
    statements
}

fn push(statements: &mut Vec<Statement>, text: &str, from: usize, to: usize) {
    let raw = &text[from..to.min(text.len())];
    let statement = raw.trim();
    if statement.is_empty() {
        return;
    }
    let start = from + (raw.len() - raw.trim_start().len());
    let line = text[..start].matches('\n').count() + 1;
    statements.push(Statement { text: statement.to_owned(), line });
}

/// Tracks SQL function bodies, `BEGIN ATOMIC … END`, whose semicolons do not end a statement.
#[derive(Debug, Default)]
struct Atomic {
    begin: bool,
    depth: usize,
}

impl Atomic {
    const fn is_inside(&self) -> bool {
        self.depth > 0
    }

    fn word(&mut self, word: &str) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if self.depth > 0 {
            if is("case") {
                self.depth += 1;
            } else if is("end") {
                self.depth -= 1;
            }
        } else if self.begin && is("atomic") {
            self.depth = 1;
        }
        self.begin = is("begin");
    }
}

/// Whether a quote belongs to `E'…'`, in which a backslash escapes.
fn is_escape_string(bytes: &[u8], quote: usize) -> bool {
    quote > 0 && matches!(bytes[quote - 1], b'e' | b'E') && !follows_word(bytes, quote - 1)
}

/// Whether the byte at `at` continues a word.
fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'_' | b'$') || bytes[at - 1] >= 0x80)
}

fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len()
        && (bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'_' | b'$') || bytes[at] >= 0x80)
    {
        at += 1;
    }
    at
}

/// The end of a quoted text or name. A doubled quote is part of it.
fn quoted(bytes: &[u8], start: usize, escapes: bool) -> usize {
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found + 1)
}

/// The end of a comment. Comments nest.
fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'*')) => (depth, at) = (depth + 1, at + 2),
            (b'*', Some(b'/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a dollar quote; one character for a `$` that starts none.
fn dollar_end(text: &str, at: usize) -> usize {
    let rest = &text[at + 1..];
    let Some(close) = rest.find('$') else { return at + 1 };
    let tag = &rest[..close];
    let is_tag = tag.is_empty()
        || (!tag.starts_with(|letter: char| letter.is_ascii_digit())
            && tag.chars().all(|letter| letter.is_alphanumeric() || letter == '_'));
    if !is_tag {
        return at + 1;
    }
    let mark = &text[at..at + close + 2];
    let body = at + mark.len();
    text[body..].find(mark).map_or(text.len(), |found| body + found + mark.len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("select 1; select 2", &["select 1", "select 2"])]
    #[case("select ';'; select '';''", &["select ';'", "select ''", "''"])]
    #[case(r"select E'\';'; select 1", &[r"select E'\';'", "select 1"])]
    #[case(r"select '\'; select 1", &[r"select '\'", "select 1"])]
    #[case("select \"a;b\"; select 1", &["select \"a;b\"", "select 1"])]
    #[case("-- a; b\nselect 1;", &["-- a; b\nselect 1"])]
    #[case("/* a; /* b; */ c; */ select 1; select 2", &["/* a; /* b; */ c; */ select 1", "select 2"])]
    #[case("do $$ begin; end; $$; select 1", &["do $$ begin; end; $$", "select 1"])]
    #[case("do $a$ $$;$$ $b$;$a$; select 1", &["do $a$ $$;$$ $b$;$a$", "select 1"])]
    #[case("select a$1; select $1;", &["select a$1", "select $1"])]
    #[case(";;  ;\n", &[])]
    #[case("\u{feff}select 1", &["select 1"])]
    #[case(
        "create function f() returns int begin atomic select 1; select case when true then 2 else 3 end; end; select 4",
        &["create function f() returns int begin atomic select 1; select case when true then 2 else 3 end; end", "select 4"]
    )]
    #[case("begin; select 1; end; select 2", &["begin", "select 1", "end", "select 2"])]
    #[case("select 'never ends; select 1", &["select 'never ends; select 1"])]
    #[case("select $été$;$été$; select 1", &["select $été$;$été$", "select 1"])]
    fn statements_end_where_postgres_ends_them(#[case] text: &str, #[case] wanted: &[&str]) {
        let seen: Vec<String> = split(text).into_iter().map(|statement| statement.text).collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn statements_know_their_lines() {
        let lines: Vec<usize> =
            split("select 1;\n\n  -- two\nselect 2;\r\nselect 3").iter().map(|statement| statement.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }
}
