//! Reads `.env`: `NAME=value` lines with quotes, comments and `export`, without shell expansion.

use std::path::Path;

use super::error::{Place, Problem};

/// One assignment.
#[derive(Clone)]
pub(super) struct Assignment {
    /// The variable's name.
    pub(super) name: String,
    /// Its value, quotes removed.
    pub(super) value: String,
    /// The line on which it starts, from 1.
    pub(super) line: usize,
}

/// Reads the text of a `.env` file.
///
/// Unquoted values end at whitespace followed by `#` and are trimmed. Single quotes and backticks keep the text as
/// written; double quotes decode `\n \r \t \" \\ \$`. A quoted value may span several lines. `$NAME` is not expanded.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Assignment>, Problem> {
    let mut assignments = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (first, _) = split_line(rest);
        let offset = text.len() - rest.len();
        let problem_at = |problem: &str, remedy: &str| Problem::At {
            place: Place::from_span(path, text, offset..offset + first.len()),
            problem: problem.to_owned(),
            remedy: Some(remedy.to_owned()),
        };
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = split_line(rest).1;
            line += 1;
            continue;
        }
        let Some((left, _)) = first.split_once('=') else {
            return Err(problem_at(
                "this line is not NAME=value",
                "write NAME=value, or start the line with # for a comment",
            ));
        };
        let name = left.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim);
        if !is_name(name) {
            return Err(problem_at("the text before = is not a variable name", "use letters, digits and underscores"));
        }
        let (value, used) = value(&rest[left.len() + 1..])
            .map_err(|problem| problem_at(problem, "close the quote and write only a comment after it"))?;
        assignments.push(Assignment { name: name.to_owned(), value, line });
        let end = left.len() + 1 + used;
        line += rest[..end].matches('\n').count();
        rest = &rest[end..];
    }
    Ok(assignments)
}

/// The first line without its line end, and the rest.
fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').map_or((text, ""), |(line, rest)| (line.strip_suffix('\r').unwrap_or(line), rest))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// The value at the start of `text`, and how many bytes it takes including its line end.
fn value(text: &str) -> Result<(String, usize), &'static str> {
    let blanks = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[blanks..];
    let Some(quote) = body.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
        let (line, rest) = split_line(text);
        return Ok((uncommented(line).trim().to_owned(), text.len() - rest.len()));
    };
    let mut value = String::new();
    let mut characters = body.char_indices().skip(1);
    let closed = loop {
        match characters.next() {
            None => return Err("unterminated quote"),
            Some((at, c)) if c == quote => break at,
            Some((_, '\\')) if quote == '"' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => return Err("unterminated quote"),
            },
            Some((_, c)) => value.push(c),
        }
    };
    let behind = &body[closed + 1..];
    let (line, rest) = split_line(behind);
    if !uncommented(&format!(" {line}")).trim().is_empty() {
        return Err("unexpected text after the closing quote");
    }
    Ok((value, text.len() - rest.len()))
}

/// A line up to its comment, which starts with `#` at the start or after whitespace.
fn uncommented(line: &str) -> &str {
    let mut after_blank = true;
    for (at, c) in line.char_indices() {
        if c == '#' && after_blank {
            return &line[..at];
        }
        after_blank = c.is_whitespace();
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(Path::new(".env"), text).unwrap().into_iter().map(|a| (a.name, a.value)).collect()
    }

    #[rstest]
    #[case("A=1", "1")]
    #[case("A = 1 ", "1")]
    #[case("export A=1\r\n", "1")]
    #[case("A=", "")]
    #[case("A=# none", "")]
    #[case("A=a#b # c", "a#b")]
    #[case("A=redis://:p#w@h", "redis://:p#w@h")]
    #[case("A=\"x # y\" # c", "x # y")]
    #[case("A='$x\\n'", "$x\\n")]
    #[case("A=\"a\\nb\\\"\\$\"", "a\nb\"$")]
    #[case("A=\"two\nlines\"\n# end", "two\nlines")]
    #[case("\u{feff}A=1", "1")]
    #[case("# c\n\n  A=b=c\n", "b=c")]
    fn a_value_is_read_as_written(#[case] text: &str, #[case] value: &str) {
        assert_eq!(read(text), [("A".to_owned(), value.to_owned())]);
    }

    #[test]
    fn lines_are_counted_through_quotes() {
        let lines = parse(Path::new(".env"), "A='x\ny'\n\nB=2\n").unwrap();
        assert_eq!(lines.iter().map(|a| a.line).collect::<Vec<_>>(), [1, 4]);
    }

    #[rstest]
    #[case("A=1\nwhat is this", ".env:2:1: this line is not NAME=value")]
    #[case("1A=2", ".env:1:1: the text before = is not")]
    #[case("\nA=\"open", ".env:2:1: unterminated quote")]
    #[case("A='x' y", ".env:1:1: unexpected text after")]
    fn a_malformed_line_is_named_and_its_value_is_not_shown(#[case] text: &str, #[case] wanted: &str) {
        let problem = parse(Path::new(".env"), text).err().unwrap().to_string();
        assert!(problem.starts_with(wanted), "{problem}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC*(\\n\\PC*)*") {
            let _ = parse(Path::new(".env"), &text);
        }

        #[test]
        fn a_double_quoted_value_comes_back(value in "[^\\x00]*") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            prop_assert_eq!(read(&format!("A=\"{quoted}\"\n")), [("A".to_owned(), value)]);
        }
    }
}
