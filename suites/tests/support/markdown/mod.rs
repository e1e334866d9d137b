//! Code blocks of Markdown pages.

/// A fenced code block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What follows the fence, such as `toml`.
    pub language: String,
    /// The code, without the indentation of the fence.
    pub text: String,
    /// The prose since the previous block.
    pub before: String,
}

/// The fenced code blocks of a page, in order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = String::new();
    let mut open: Option<(usize, Block)> = None;
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let block =
                    Block { language: language.to_owned(), text: String::new(), before: std::mem::take(&mut before) };
                open = Some((indent, block));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((fence, block)), None) => {
                block.text.push_str(&line[indent.min(*fence)..]);
                block.text.push('\n');
            }
            (None, None) => {
                before.push_str(line);
                before.push('\n');
            }
        }
    }
    blocks
}

/// The text below the heading `## title`, up to the next heading of its level; empty if there is no such heading.
pub fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let below = page.split_once(&format!("\n## {title}\n")).map_or("", |(_, below)| below);
    below.split("\n## ").next().unwrap_or_default()
}
