//! `shakedown guide [TOPIC]`: the user guide and the failure catalogue in the terminal.

mod pager;
mod render;

use super::failure::Failure;
use super::print::print_styled;
use super::terminal::Terminal;
use crate::guide::catalogue::{self, Entry};
use crate::guide::{self, TOPICS, Topic};
use crate::outcome::Exit;
use render::render;

/// Read the guide, or an entry of the failure catalogue
///
/// Without a topic it lists the topics. A topic is a page of the guide, such as `start`, or an entry of the failure
/// catalogue, such as `jina.5xx`: reports name these entries as the source of a case.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A page of the guide, or an entry of the failure catalogue
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
    /// Print the sections that contain WORD, in any case
    #[arg(long, value_name = "WORD", conflicts_with = "topic")]
    search: Option<String>,
}

/// Columns of text where the output is not a terminal.
const WIDTH: usize = 100;
/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 110;

/// Prints what the arguments ask for, through a pager where the output is a terminal.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let markdown = match (&args.topic, &args.search) {
        (Some(topic), _) => find(topic)?.to_owned(),
        (None, Some(word)) => search(word)?,
        (None, None) => contents(),
    };
    let screen = Terminal::stdout();
    let width = screen.width.unwrap_or(WIDTH).min(WIDEST);
    let text = render(&markdown, width, screen.colours);
    if !pager::show(&text) {
        // The reader may have closed the pipe.
        let _ = print_styled(&text);
    }
    Ok(Exit::Ok)
}

/// The Markdown of a page or an entry.
fn find(name: &str) -> Result<&'static str, Failure> {
    let page = guide::topic(name).map(|topic| topic.text);
    page.or_else(|| catalogue::entry(name).map(|entry| entry.text)).ok_or_else(|| {
        let names = TOPICS.iter().map(|topic| topic.name).chain(catalogue::entries().iter().map(|entry| entry.slug));
        let similar = names
            .map(|other| (strsim::jaro_winkler(name, other), other))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(left, _), (right, _)| left.total_cmp(right));
        let hint = similar.map_or_else(String::new, |(_, other)| format!(": did you mean `{other}`?"));
        let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        Failure::usage(format!(
            "unknown topic `{name}`{hint}\n  topics: {}; or an entry of the failure catalogue, such as `jina.5xx`",
            topics.join(", ")
        ))
    })
}

/// The list of topics, as Markdown.
fn contents() -> String {
    let mut text = String::from("# Topics\n\n| topic | page |\n|---|---|\n");
    for topic in TOPICS {
        text.push_str(&format!("| `{}` | {} |\n", topic.name, topic.title()));
    }
    text.push_str(&format!(
        "\n`shakedown guide TOPIC` prints a page. `shakedown guide SLUG` prints one of the {} entries of the failure \
         catalogue, such as `jina.5xx`. `shakedown guide --search WORD` searches both.\n",
        catalogue::entries().len()
    ));
    text
}

/// The sections that contain `word`, as Markdown, each with the topic that has it.
fn search(word: &str) -> Result<String, Failure> {
    let wanted = word.to_lowercase();
    let contains = |text: &str| text.to_lowercase().contains(&wanted);
    let mut text = String::new();
    for Topic { name, text: page } in TOPICS {
        for section in sections(page).into_iter().filter(|section| contains(section)) {
            text.push_str(&format!("`shakedown guide {name}`\n\n{section}\n\n---\n\n"));
        }
    }
    for Entry { slug, text: entry } in catalogue::entries().iter().filter(|entry| contains(entry.text)) {
        text.push_str(&format!("`shakedown guide {slug}`\n\n{entry}\n\n---\n\n"));
    }
    if text.is_empty() {
        return Err(Failure::usage(format!("no section contains `{word}`; `shakedown guide` lists the topics")));
    }
    Ok(text)
}

/// A page cut before each heading; a `#` in a code block is not a heading.
fn sections(page: &str) -> Vec<String> {
    let mut sections: Vec<String> = vec![String::new()];
    let mut in_code = false;
    for line in page.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if line.starts_with('#') && !in_code {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections.retain(|section| !section.trim().is_empty());
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_page_or_an_entry_of_the_catalogue() {
        assert!(find("start").unwrap().starts_with("# "));
        assert!(find("jina.5xx").unwrap().starts_with("### jina.5xx"));
        let unknown = find("trubleshooting").unwrap_err();
        let text = unknown.report.to_string();
        assert_eq!(unknown.exit, Exit::Usage);
        assert!(text.contains("did you mean `troubleshooting`?") && text.contains("topics: start, worker"), "{text}");
        assert!(!find("qqq").unwrap_err().report.to_string().contains("did you mean"));
    }

    #[test]
    fn a_search_prints_the_sections_that_contain_the_word_and_no_others() {
        let found = search("NOEVICTION").unwrap();
        assert!(found.contains("`shakedown guide redis.eviction-policy`"), "{found}");
        assert!(!found.contains("shakedown guide jina.dimensions"), "{found}");
        assert_eq!(search("xyzzy-nowhere").unwrap_err().exit, Exit::Usage);
        let page = "# One\ntext\n```sh\n# a comment\n```\n## Two\nmore\n";
        assert_eq!(sections(page), ["# One\ntext\n```sh\n# a comment\n```\n", "## Two\nmore\n"]);
    }

    #[test]
    fn every_page_and_every_entry_fits_its_width() {
        let texts = TOPICS.iter().map(|topic| topic.text).chain(catalogue::entries().iter().map(|entry| entry.text));
        for text in texts.chain([contents().as_str()]) {
            for line in render(text, 80, false).lines().filter(|line| !line.starts_with("    ")) {
                let unbreakable = line.contains("://") || line.contains('`');
                assert!(console::measure_text_width(line) <= 80 || unbreakable, "{line}");
            }
        }
    }
}
