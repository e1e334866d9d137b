//! The capabilities of an output stream: its width, colours, and whether it can redraw a line.

use console::Term;

use crate::settings::process_variable;

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Columns; none for a file or a pipe, unless `COLUMNS` is set.
    pub(super) width: Option<usize>,
    /// Whether to use colours.
    pub(super) colours: bool,
    /// Whether a line can be redrawn; false in a CI log, even if it is a terminal.
    pub(super) redraws: bool,
}

impl Terminal {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        Self::from_env(columns(&Term::stdout()), process_variable)
    }

    /// Standard error.
    pub(super) fn stderr() -> Self {
        Self::from_env(columns(&Term::stderr()), process_variable)
    }

    /// A stream that is a terminal of `terminal` columns, or none.
    fn from_env(terminal: Option<usize>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let says_yes = |name: &str| set(name).is_some_and(|value| value != "0" && value != "false");
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let can_draw = terminal.is_some() && set("TERM").is_some_and(|name| name != "dumb");
        let forced = says_yes("CLICOLOR_FORCE") || says_yes("FORCE_COLOR");
        let wanted = can_draw && variable("CLICOLOR").is_none_or(|value| value != "0");
        Self {
            width: columns.or(terminal),
            colours: set("NO_COLOR").is_none() && (forced || wanted),
            redraws: can_draw && !says_yes("CI"),
        }
    }
}

/// The columns of a terminal; none if it is not a terminal.
fn columns(term: &Term) -> Option<usize> {
    // A terminal of unknown width gets the usual 80 columns.
    let known = || term.size_checked().map(|(_, columns)| usize::from(columns)).filter(|columns| *columns > 0);
    term.is_term().then(|| known().unwrap_or(80))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PIPE: Option<usize> = None;
    const TERMINAL: Option<usize> = Some(132);
    const XTERM: (&str, &str) = ("TERM", "xterm");

    #[rstest]
    #[case::a_terminal(TERMINAL, &[XTERM], (Some(132), true, true))]
    #[case::a_pipe(PIPE, &[XTERM], (None, false, false))]
    #[case::a_pipe_of_a_known_width(PIPE, &[XTERM, ("COLUMNS", "90")], (Some(90), false, false))]
    #[case::a_width_that_was_asked_for(TERMINAL, &[XTERM, ("COLUMNS", "90")], (Some(90), true, true))]
    #[case::no_width_at_all(TERMINAL, &[XTERM, ("COLUMNS", "0")], (Some(132), true, true))]
    #[case::no_number(TERMINAL, &[XTERM, ("COLUMNS", "wide")], (Some(132), true, true))]
    #[case::a_dumb_terminal(TERMINAL, &[("TERM", "dumb")], (Some(132), false, false))]
    #[case::a_terminal_without_a_name(TERMINAL, &[], (Some(132), false, false))]
    #[case::no_colours(TERMINAL, &[XTERM, ("NO_COLOR", "1")], (Some(132), false, true))]
    #[case::an_empty_wish(TERMINAL, &[XTERM, ("NO_COLOR", "")], (Some(132), true, true))]
    #[case::colours_in_a_pipe(PIPE, &[("CLICOLOR_FORCE", "1")], (None, true, false))]
    #[case::colours_in_a_log(PIPE, &[("FORCE_COLOR", "true"), ("CI", "true")], (None, true, false))]
    #[case::colours_not_forced(PIPE, &[("CLICOLOR_FORCE", "0")], (None, false, false))]
    #[case::none_wins(TERMINAL, &[XTERM, ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], (Some(132), false, true))]
    #[case::no_colours_the_other_way(TERMINAL, &[XTERM, ("CLICOLOR", "0")], (Some(132), false, true))]
    #[case::a_log_that_is_a_terminal(TERMINAL, &[XTERM, ("CI", "true")], (Some(132), true, false))]
    #[case::no_log(TERMINAL, &[XTERM, ("CI", "false")], (Some(132), true, true))]
    fn width_colours_and_redrawing_follow_the_terminal_and_the_variables(
        #[case] terminal: Option<usize>,
        #[case] variables: &[(&str, &str)],
        #[case] (width, colours, redraws): (Option<usize>, bool, bool),
    ) {
        let variable =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(Terminal::from_env(terminal, variable), Terminal { width, colours, redraws });
    }
}
