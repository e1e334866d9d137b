//! Lines of a worker's output: the last error, and lines that are not the worker's own.

use std::sync::LazyLock;

use regex::Regex;

/// How many lines after an error belong to it: a message and the first frames of its stack.
const AFTER_ERROR: usize = 2;

/// An error as loggers, Node, Python and Rust write it.
static ERROR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?x) "(?:level|severity|levelname|lvl)"\s*:\s*(?:"(?i:error|err|fatal|critical|crit|panic)"|[56]0\b)
        | \b(?:ERROR|FATAL|CRITICAL|PANIC)\b | ^\s*(?:\w+\.)*\w*(?:Error|Exception)\b[^=]*: | \bpanicked\ at\b"#,
    )
    .ok()
});

/// The last error of an output with the lines that follow it at once; `None` if it has none.
pub(super) fn last_error(log: &str) -> Option<String> {
    let error = ERROR.as_ref()?;
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let place = lines.iter().rposition(|line| error.is_match(line))?;
    // What begins with a blank continues the line before it; another line is another message.
    let continues = |line: &&&str| line.starts_with([' ', '\t']);
    let after = lines.get(place + 1..).unwrap_or_default().iter().take_while(continues).take(AFTER_ERROR);
    Some(lines.get(place).into_iter().chain(after).copied().collect::<Vec<_>>().join("\n"))
}

/// A warning of a client that our addresses cause: they are plain HTTP.
static OF_OUR_ADDRESSES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)api key is used with (?:an? )?(?:insecure|unsecure) connection").ok());
/// What npm, Node and Python print before the worker's own first line.
static OF_THE_START: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x) ^>\ \S+ | ^\(node:\d+\)\ .*Warning:\ | ^\(Use\ `node\ --trace-
        | ^\S+\.py:\d+:\ \w*Warning:\ | ^npm\ (?:warn|notice)\b | ^\[dotenv@",
    )
    .ok()
});

/// The lines of an output that the worker's own logger is responsible for, with their numbers from 1: without blank ones,
/// without those of the runtime's start, and without those that our addresses cause.
pub(super) fn own_lines(output: &str) -> impl Iterator<Item = (usize, &str)> {
    let matches = |regex: &Option<Regex>, line: &str| regex.as_ref().is_some_and(|regex| regex.is_match(line));
    let (mut is_starting, mut continues) = (true, false);
    output.lines().enumerate().map(|(number, line)| (number + 1, line)).filter(move |(_, line)| {
        if line.trim().is_empty() || (continues && line.starts_with([' ', '\t'])) {
            return false;
        }
        continues = matches(&OF_OUR_ADDRESSES, line) || (is_starting && matches(&OF_THE_START, line));
        is_starting &= continues;
        !continues
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::json(
        "{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"info\"}\n",
        Some("{\"level\":\"error\",\"msg\":\"a\"}")
    )]
    #[case::pino("{\"level\":50,\"msg\":\"a\"}\n{\"level\":30}\n", Some("{\"level\":50,\"msg\":\"a\"}"))]
    #[case::text("2026 ERROR [x] a\nstopped\n", Some("2026 ERROR [x] a"))]
    #[case::stack("Error: a\n    at b\n    at c\n    at d\nbye\n", Some("Error: a\n    at b\n    at c"))]
    #[case::python("Traceback\n  File x\nValueError: no\n", Some("ValueError: no"))]
    #[case::the_last_one("ERROR one\nERROR two\ninfo\n", Some("ERROR two"))]
    #[case::none("no errors: 0 failed\n{\"level\":\"info\",\"errors\":0}\n", None)]
    #[case::empty("", None)]
    fn the_last_error_is_found_in_every_notation(#[case] log: &str, #[case] wanted: Option<&str>) {
        assert_eq!(last_error(log).as_deref(), wanted);
    }

    #[test]
    fn lines_of_the_runtime_count_only_before_the_first_of_the_worker() {
        let start = "> worker@1.0.0 start\n> node dist/worker.js\n\n(node:7) ExperimentalWarning: x is experimental\n\
                     (Use `node --trace-warnings ...` to show where the warning was created)\n";
        let own = |output: &str| own_lines(output).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(own(&format!("{start}{{}}\nplain\n")), [6, 7]);
        assert_eq!(own(&format!("{{}}\n{start}")), [1, 2, 3, 5, 6]);
    }

    #[test]
    fn warnings_about_our_addresses_do_not_count_with_the_source_that_python_shows() {
        let own = |output: &str| own_lines(output).map(|(_, line)| line.to_owned()).collect::<Vec<_>>();
        let python = "{}\n/w/a.py:3: UserWarning: Api key is used with an insecure connection.\n  client = QdrantClient(\nplain\n";
        assert_eq!(own(python), ["{}", "plain"]);
        assert_eq!(own("{}\nApi key is used with unsecure connection.\n{}\n"), ["{}", "{}"]);
        assert_eq!(own("the api key is wrong\n"), ["the api key is wrong"]);
    }
}
