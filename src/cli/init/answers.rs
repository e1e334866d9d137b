//! Questions on a terminal about what the sources do not say.

use std::io::{BufRead, IsTerminal as _, Write};

use super::super::print::shown;
use crate::redaction::printable;

/// Where answers come from.
pub(super) enum Answers {
    /// No question is asked: standard input or standard error is no terminal.
    None,
    /// A person at a terminal.
    Terminal,
    /// A list of answers, for tests.
    #[cfg(test)]
    Listed(std::collections::VecDeque<String>),
}

impl Answers {
    /// The terminal, if there is one.
    pub(super) fn of_process() -> Self {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if is_terminal { Self::Terminal } else { Self::None }
    }

    /// Asks; `None` without a terminal, or if the answer is empty, which accepts the default.
    pub(super) fn ask(&mut self, question: &str, default: &str) -> Option<String> {
        let answer = match self {
            Self::None => return None,
            Self::Terminal => ask(question, default, &mut std::io::stdin().lock(), &mut std::io::stderr())?,
            #[cfg(test)]
            Self::Listed(answers) => answers.pop_front()?,
        };
        let answer = answer.trim().to_owned();
        (!answer.is_empty()).then_some(answer)
    }
}

fn ask(question: &str, default: &str, input: &mut impl BufRead, output: &mut impl Write) -> Option<String> {
    let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    write!(output, "{} ", shown(&printable(&format!("{question}{default}:")))).ok()?;
    output.flush().ok()?;
    let mut answer = String::new();
    // A closed terminal accepts the default.
    input.read_line(&mut answer).ok().filter(|read| *read > 0)?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_shows_its_default_and_takes_a_line() {
        let mut output = Vec::new();
        let answer = ask("Which queue?", "documents", &mut "other\n".as_bytes(), &mut output);
        assert_eq!(
            (answer.as_deref(), String::from_utf8(output).unwrap().as_str()),
            (Some("other\n"), "Which queue? [documents]: ")
        );
        assert_eq!(ask("Which queue?", "", &mut "".as_bytes(), &mut Vec::new()), None);
    }
}
