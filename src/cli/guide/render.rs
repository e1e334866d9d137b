//! Markdown for a terminal: headings bold, code indented, tables aligned, text wrapped.

use console::Style as Paint;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// `markdown` as text of `width` columns.
pub(super) fn render(markdown: &str, width: usize, colours: bool) -> String {
    let mut page = Page { width: width.max(40), colours, ..Page::default() };
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for event in Parser::new_ext(markdown, options) {
        page.event(event);
    }
    page.finish()
}

/// The state of a page that is being written.
#[derive(Default)]
struct Page {
    width: usize,
    colours: bool,
    out: String,
    /// The words of the paragraph, heading or cell that is being read; each carries its own colours.
    inline: String,
    /// The prefixes of each line: blanks for lists, bars for quotations.
    indents: Vec<String>,
    /// The prefix of the next line instead: the bullet of an item.
    marker: Option<String>,
    /// The next number of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    strong: usize,
    heading: bool,
    code: bool,
    /// The address of the open link, and where its text begins.
    link: Option<(String, usize)>,
    table: Vec<Vec<String>>,
}

impl Page {
    fn event(&mut self, event: Event) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code => self.code_lines(&text),
            Event::Text(text) => {
                let strong = self.heading || self.strong > 0;
                self.push(&text, strong.then(|| Paint::new().bold()));
            }
            Event::Code(text) if self.colours => self.push(&text, Some(Paint::new().cyan())),
            Event::Code(text) => self.push(&format!("`{text}`"), None),
            Event::SoftBreak | Event::HardBreak => self.inline.push(' '),
            Event::Rule => {
                self.blank();
                let rule = "─".repeat(self.room());
                self.line(&rule);
            }
            Event::TaskListMarker(done) => self.inline.push_str(if done { "[x] " } else { "[ ] " }),
            // Anchors for links, which a terminal cannot follow.
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::Paragraph => self.blank_unless_item(),
            Tag::Heading { .. } => {
                self.blank();
                self.heading = true;
            }
            Tag::BlockQuote(_) => {
                self.blank();
                self.indents.push("│ ".to_owned());
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.blank_unless_item();
                self.code = true;
            }
            Tag::List(first) => {
                self.flush();
                if self.lists.is_empty() {
                    self.blank();
                }
                self.lists.push(first);
            }
            Tag::Item => {
                let marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let marker = format!("{number}. ");
                        *number += 1;
                        marker
                    }
                    _ => "- ".to_owned(),
                };
                self.marker = Some(format!("{}{marker}", self.indents.concat()));
                self.indents.push(" ".repeat(marker.len()));
            }
            Tag::Strong => self.strong += 1,
            Tag::Link { dest_url, .. } => self.link = Some((dest_url.to_string(), self.inline.len())),
            Tag::Table(_) => {
                self.blank();
                self.table.clear();
            }
            Tag::TableHead | Tag::TableRow => self.table.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.flush(),
            TagEnd::Heading(_) => {
                self.flush();
                self.heading = false;
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.indents.pop();
            }
            TagEnd::CodeBlock => self.code = false,
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Item => {
                self.flush();
                self.marker = None;
                self.indents.pop();
            }
            TagEnd::Strong => self.strong = self.strong.saturating_sub(1),
            TagEnd::Link => self.end_link(),
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inline);
                if let Some(row) = self.table.last_mut() {
                    row.push(cell);
                }
            }
            TagEnd::Table => self.end_table(),
            _ => {}
        }
    }

    /// Adds text; every word is painted by itself, so that lines can be broken between them.
    fn push(&mut self, text: &str, paint: Option<Paint>) {
        let paint = paint.filter(|_| self.colours).map(|paint| paint.force_styling(true));
        for (number, word) in text.split(' ').enumerate() {
            if number > 0 {
                self.inline.push(' ');
            }
            match &paint {
                Some(paint) if !word.is_empty() => self.inline.push_str(&paint.apply_to(word).to_string()),
                _ => self.inline.push_str(word),
            }
        }
    }

    /// Adds the address of a link to another site, unless its text is the address.
    fn end_link(&mut self) {
        if let Some((url, from)) = self.link.take()
            && url.contains("://")
            && self.inline.get(from..).is_some_and(|text| !text.contains(&url))
        {
            self.inline.push_str(&format!(" ({url})"));
        }
    }

    fn code_lines(&mut self, text: &str) {
        let indent = self.indents.concat();
        for line in text.lines() {
            // Code is there to be copied: it is never broken.
            self.out.push_str(format!("{indent}    {line}").trim_end());
            self.out.push('\n');
        }
    }

    /// Columns that a line has beside its indent.
    fn room(&self) -> usize {
        self.width.saturating_sub(wide(&self.indents.concat())).max(20)
    }

    /// Writes one line behind the marker or the indent.
    fn line(&mut self, text: &str) {
        let before = self.marker.take().unwrap_or_else(|| self.indents.concat());
        self.out.push_str(format!("{before}{text}").trim_end());
        self.out.push('\n');
    }

    /// Writes the words that were read.
    fn flush(&mut self) {
        let words = std::mem::take(&mut self.inline);
        if words.trim().is_empty() {
            return;
        }
        for line in wrap(&words, self.room()) {
            self.line(&line);
        }
    }

    /// An empty line between blocks.
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn blank_unless_item(&mut self) {
        if self.marker.is_none() {
            self.blank();
        }
    }

    fn end_table(&mut self) {
        let table = std::mem::take(&mut self.table);
        let widths = column_widths(&table, self.room());
        for (number, row) in table.iter().enumerate() {
            let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(|(cell, width)| wrap(cell, *width)).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for place in 0..height {
                let parts: Vec<String> = cells
                    .iter()
                    .zip(&widths)
                    .map(|(lines, width)| {
                        let text = lines.get(place).map_or("", String::as_str);
                        format!("{text}{}", " ".repeat(width.saturating_sub(wide(text))))
                    })
                    .collect();
                self.line(&parts.join("  "));
            }
            if number == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                self.line(&rule.join("  "));
            }
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        let text = self.out.trim_matches('\n');
        format!("{text}\n")
    }
}

fn wide(text: &str) -> usize {
    console::measure_text_width(text)
}

/// The widths of the columns: as wide as their cells, and the widest ones narrower where the table would not fit.
fn column_widths(table: &[Vec<String>], room: usize) -> Vec<usize> {
    const NARROWEST: usize = 10;
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| table.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max();
    let mut widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    while widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1) > room {
        let Some(longest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else { break };
        *longest -= 1;
    }
    widths
}

/// Lines of at most `width` columns, broken at spaces alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && wide(&line) + 1 + wide(word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn markdown_is_laid_out_for_a_terminal() {
        let markdown = "# Title\n\nA *paragraph* with `code`, a [link](https://example.com/a) and <https://example.com/b>, \
                        long enough to be wrapped.\n\n<a id=\"x\"></a>\n## Next\n\n- **one** item\n- two\n  1. inner\n\n\
                        ```sh\nshakedown run \\\n  --slow\n```\n\n| code | meaning |\n|---|---|\n| 0 | conformant |\n\
                        | 130 | a text that does not fit into the column that remains |\n\n> quoted\n";
        let wanted = "\
Title

A paragraph with `code`, a link (https://example.com/a)
and https://example.com/b, long enough to be wrapped.

Next

- one item
- two
  1. inner

    shakedown run \\
      --slow

code  meaning
────  ──────────────────────────────────────────────────
0     conformant
130   a text that does not fit into the column that
      remains

│ quoted
";
        assert_eq!(render(markdown, 56, false), wanted);
    }

    #[test]
    fn colours_are_there_when_they_are_asked_for() {
        let markdown = "# Two words\n\n`code` and **strong**\n";
        let text = render(markdown, 80, true);
        assert!(text.contains("\u{1b}[1mTwo\u{1b}[0m \u{1b}[1mwords\u{1b}[0m"), "{text:?}");
        assert!(text.contains("\u{1b}[36mcode\u{1b}[0m"), "{text:?}");
        assert!(!render(markdown, 80, false).contains('\u{1b}'));
    }
}
