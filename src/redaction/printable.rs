//! Foreign text that neither a terminal nor GitHub Actions obeys.

use std::borrow::Cow;

/// `text` with every control character, and every character that changes the direction of text, written as an escape
/// such as `\u001b`. Tabs and line breaks are kept. JSON stays JSON, with the same meaning.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |character| is_harmful(character) && !matches!(character, '\t' | '\n'))
}

/// The same as one line: tabs and line breaks are escaped too.
#[must_use]
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful)
}

/// Controls, marks of direction, separators of lines, and characters that no one sees.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}' | '\u{2066}'
                ..='\u{2069}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        )
}

fn escaped(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // The line break of Windows is one all the same.
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' if harmful('\n') => shown.push_str("\\n"),
            '\t' if harmful('\t') => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            other if harmful(other) => shown.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

/// `text` without escape sequences of terminals, such as colours.
#[must_use]
pub fn without_escapes(text: &str) -> Cow<'_, str> {
    // Without the character there is nothing to do, and a long text is not read twice.
    if text.contains(['\u{1b}', '\u{9b}']) { console::strip_ansi_codes(text) } else { Cow::Borrowed(text) }
}

/// `text` without workflow commands of GitHub Actions: the runner obeys a line that begins with `::`, and `##[`
/// anywhere in a line.
///
/// <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>
#[must_use]
pub fn harmless_commands(text: &str) -> Cow<'_, str> {
    if !text.contains("::") && !text.contains("##[") {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive(['\n', '\r']).map(|line| {
        let blanks = line.len() - line.trim_start().len();
        let line = line.replace("##[", "# #[");
        match line[blanks..].strip_prefix("::") {
            Some(rest) => format!("{}: :{rest}", &line[..blanks]),
            None => line,
        }
    });
    Cow::Owned(lines.collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("a ü\tb\n", "a ü\tb\n")]
    #[case::colour("\u{1b}[31mred", "\\u001b[31mred")]
    #[case::c1("\u{9b}31m", "\\u009b31m")]
    #[case::windows("a\r\nb", "a\nb")]
    #[case::carriage_return("safe\revil", "safe\\revil")]
    #[case::direction("a\u{202e}b\u{2066}c", "a\\u202eb\\u2066c")]
    #[case::nothing_to_see("a\u{200b}b\0", "a\\u200bb\\u0000")]
    fn control_characters_are_written_as_escapes(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(printable(text), shown);
    }

    #[rstest]
    #[case::colour("\u{1b}[31mred\u{1b}[0m", "red")]
    #[case::c1("\u{9b}31mred", "red")]
    #[case::link("\u{1b}]8;;http://a\u{7}b\u{1b}]8;;\u{7}", "b")]
    #[case::none("a [31m b", "a [31m b")]
    fn escape_sequences_are_removed(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(without_escapes(text), shown);
    }

    #[test]
    fn a_line_has_no_line_breaks() {
        assert_eq!(printable_line("a\nb\tc"), "a\\nb\\tc");
    }

    #[rstest]
    #[case::at_the_start("::stop-commands::x\nb", ": :stop-commands::x\nb")]
    #[case::after_blanks("a\n  ::error::x", "a\n  : :error::x")]
    #[case::after_a_carriage_return("a\r::error::x", "a\r: :error::x")]
    #[case::the_old_form("x ##[add-mask]y", "x # #[add-mask]y")]
    #[case::within_a_line("std::fmt and ##", "std::fmt and ##")]
    fn workflow_commands_are_broken_up(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(harmless_commands(text), shown);
    }
}
