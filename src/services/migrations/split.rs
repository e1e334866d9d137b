//! Splits SQL into statements, at semicolons outside of quotes, comments, dollar quotes and `BEGIN ATOMIC` bodies, like
//! PostgreSQL's lexer (PostgreSQL documentation, 4.1 Lexical Structure).

/// One statement, without the semicolon that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, with the comments before it.
    pub text: String,
    /// The line of the file on which it starts, from 1.
    pub line: usize,
    /// The rows that follow `COPY … FROM STDIN`, up to the line `\.`.
    pub rows: Option<String>,
    /// What the file has between this statement's end and the next: a semicolon and the rows with their end.
    tail: String,
}

/// What no server executes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A command of psql.
    #[error("`{0}` is a command of psql, and not SQL: remove the line")]
    PsqlCommand(String),
    /// `COPY … TO STDOUT`.
    #[error("COPY … TO STDOUT prints rows, and no client reads them: remove the statement")]
    CopyToStdout,
}

impl Statement {
    /// Why no server executes it, and the line, from 1.
    #[must_use]
    pub fn unusable(&self) -> Option<(usize, Unusable)> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'\\' {
                let command = self.text[at..].split_whitespace().next().unwrap_or_default().to_owned();
                let line = self.line + self.text[..at].matches('\n').count();
                return Some((line, Unusable::PsqlCommand(command)));
            }
            at = token_end(&self.text, at);
        }
        copies(&self.text, ["to", "stdout"]).then_some((self.line, Unusable::CopyToStdout))
    }

    /// The text with the rows after it, as in the file.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("{}{}", self.text, self.tail)
    }
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
        let end = token_end(text, at);
        match bytes[at] {
            b';' if !atomic.is_inside() => {
                push(&mut statements, text, begun, at);
                atomic = Atomic::default();
                begun = end;
                if let Some(copy) = statements.last_mut().filter(|last| copies(&last.text, ["from", "stdin"])) {
                    let (rows, after) = rows(text, end);
                    copy.rows = Some(rows);
                    text[at..after].clone_into(&mut copy.tail);
                    begun = after;
                }
                at = begun;
                continue;
            }
            letter if is_word_start(letter) => atomic.word(&text[at..end]),
            _ => {}
        }
        at = end;
    }
    push(&mut statements, text, begun, bytes.len());
    statements
}

/// The end of the quote, the comment, the word or the character that begins at `at`.
fn token_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'\'' => quoted(bytes, at, is_escape_string(bytes, at)),
        b'"' => quoted(bytes, at, false),
        b'-' if bytes.get(at + 1) == Some(&b'-') => line_end(bytes, at),
        b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
        b'$' if !follows_word(bytes, at) => dollar_end(text, at),
        letter if is_word_start(letter) => word_end(bytes, at),
        _ => at + 1,
    }
}

const fn is_word_start(letter: u8) -> bool {
    letter.is_ascii_alphabetic() || letter == b'_'
}

/// Whether a statement is a COPY with these two words after each other, outside of quotes.
fn copies(statement: &str, words: [&str; 2]) -> bool {
    let bytes = statement.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(statement, at);
        if is_word_start(bytes[at]) {
            found.push(&statement[at..end]);
        }
        at = end;
    }
    let is = |word: &&str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    found.first().is_some_and(|word| is(word, "copy"))
        && found.windows(2).any(|pair| is(&pair[0], words[0]) && is(&pair[1], words[1]))
}

/// The rows after the line of a COPY, and where the text goes on. Like in psql, the last row of a file needs no `\.`.
fn rows(text: &str, at: usize) -> (String, usize) {
    let begin = at + text[at..].find('\n').map_or(text.len() - at, |end| end + 1);
    let mut end = begin;
    for line in text[begin..].split_inclusive('\n') {
        let after = end + line.len();
        if line.trim_end() == "\\." {
            return (text[begin..end].to_owned(), after);
        }
        end = after;
    }
    (text[begin..].to_owned(), text.len())
}

fn push(statements: &mut Vec<Statement>, text: &str, from: usize, to: usize) {
    let raw = text.get(from..to.min(text.len())).unwrap_or_default();
    let statement = raw.trim();
    if statement.is_empty() {
        return;
    }
    let start = from + (raw.len() - raw.trim_start().len());
    let line = text[..start].matches('\n').count() + 1;
    statements.push(Statement { text: statement.to_owned(), line, rows: None, tail: String::new() });
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
    fn rows_of_a_copy_belong_to_its_statement() {
        let text = "create table t (a int, b text);\nCOPY t (a, b) FROM stdin;\n1\tmanual\n2\tfaq; and 'more\n\\.\n\n\
                    select 1; copy \"from stdin\" from '/file'; select 2;\ncopy t from stdin with (format csv);\n3,x\n";
        let found = split(text);
        let seen: Vec<(usize, Option<&str>)> =
            found.iter().map(|statement| (statement.line, statement.rows.as_deref())).collect();
        let first = Some("1\tmanual\n2\tfaq; and 'more\n");
        assert_eq!(seen, [(1, None), (2, first), (7, None), (7, None), (7, None), (8, Some("3,x\n"))]);
        assert!(found[1].whole().ends_with("FROM stdin;\n1\tmanual\n2\tfaq; and 'more\n\\.\n"), "{}", found[1].whole());
        assert!(found.iter().all(|statement| statement.unusable().is_none()));
    }

    #[rstest]
    #[case("-- a dump\n\\restrict abc\nSET a = 0;", Some((2, "`\\restrict` is a command of psql")))]
    #[case("select 1\n\\gset", Some((2, "`\\gset` is a command of psql")))]
    #[case("copy (select 1) to stdout", Some((1, "COPY … TO STDOUT prints rows")))]
    #[case("select '\\d', E'\\'', $$ \\d $$ -- \\d", None)]
    #[case("select 1 /* \\d */", None)]
    #[case("comment on table t is 'copy to stdout'", None)]
    fn what_is_no_sql_is_found(#[case] text: &str, #[case] wanted: Option<(usize, &str)>) {
        let found = split(text).iter().find_map(Statement::unusable);
        match (found, wanted) {
            (None, None) => {}
            (Some((line, what)), Some((at, text))) => {
                assert_eq!(line, at);
                assert!(what.to_string().starts_with(text), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn statements_know_their_lines() {
        let lines: Vec<usize> =
            split("select 1;\n\n  -- two\nselect 2;\r\nselect 3").iter().map(|statement| statement.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }
}
