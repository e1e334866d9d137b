//! The lines of an output that say why a worker does not work.

use std::sync::LazyLock;

use regex::Regex;

/// How many lines are shown.
const LINES: usize = 3;

/// A line that names an error: of Node (`Error: …`), Python (`ValueError: …`), Rust, a shell, or a logger.
static ERROR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?x)
        (?i:\b(?:error|fatal|critical|panicked|uncaught|unhandled|cannot|denied|refused|not\ found)\b)
        | \w(?:Error|Exception)\b                 # ValueError, MongoServerError
        | \bE[A-Z]{4,}\b                          # ECONNREFUSED
        | "level"\s*:\s*(?:[56]0|"(?i:error|fatal)") # pino, bunyan, winston
        "#,
    )
    .ok()
});

/// The last lines of `output` that name an error; the last lines of all if none does. Empty lines do not count.
#[must_use]
pub fn last_errors(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let is_error = |line: &&&str| ERROR.as_ref().is_some_and(|pattern| pattern.is_match(line));
    let mut last: Vec<&str> = lines.iter().rev().filter(is_error).take(LINES).copied().collect();
    if last.is_empty() {
        last = lines.iter().rev().take(LINES).copied().collect();
    }
    last.reverse();
    last.join("\n")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::node(
        "Error: Cannot find module 'bullmq'\n    at Module._resolve (node:internal:1)\n\nNode.js v20.20.2",
        "Error: Cannot find module 'bullmq'"
    )]
    #[case::python(
        "Traceback (most recent call last):\n  File \"w.py\", line 1\nModuleNotFoundError: No module named 'x'\n",
        "ModuleNotFoundError: No module named 'x'"
    )]
    #[case::a_logger(
        "{\"level\":50,\"msg\":\"no database\"}\n{\"level\":30,\"msg\":\"bye\"}",
        "{\"level\":50,\"msg\":\"no database\"}"
    )]
    #[case::the_system("connect ECONNREFUSED 127.0.0.1:1\nbye", "connect ECONNREFUSED 127.0.0.1:1")]
    #[case::no_error("one\ntwo\n\nthree\nfour\n", "two\nthree\nfour")]
    #[case::the_last_errors("error 1\nerror 2\nerror 3\nerror 4\nbye", "error 2\nerror 3\nerror 4")]
    #[case::nothing("", "")]
    fn the_last_errors_are_shown(#[case] output: &str, #[case] wanted: &str) {
        assert_eq!(last_errors(output), wanted);
    }
}
