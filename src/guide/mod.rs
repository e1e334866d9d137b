//! The user guide and the failure catalogue, as Markdown inside the binary.
//!
//! `shakedown guide [TOPIC]` prints the same pages in a terminal.

pub mod catalogue;

/// A page of the guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// The name by which `shakedown guide` finds it.
    pub name: &'static str,
    /// Its Markdown.
    pub text: &'static str,
}

impl Topic {
    /// The text of its first heading.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(self.name)
    }
}

/// Embeds the pages, and shows each as the documentation of a module of its own.
macro_rules! topics {
    ($($module:ident $name:literal;)*) => {
        $(
            #[doc = include_str!(concat!($name, ".md"))]
            #[allow(clippy::doc_markdown, reason = "the pages are prose for users, with product names")]
            pub mod $module {}
        )*

        /// Every page, in reading order.
        pub const TOPICS: &[Topic] = &[
            $(Topic { name: $name, text: include_str!(concat!($name, ".md")) }),*
        ];
    };
}

topics! {
    start "start";
    worker "worker";
    check "check";
    serve "serve";
    setup "setup";
    faults "faults";
    expectations "expectations";
    ci "ci";
    variables "variables";
    exit_codes "exit-codes";
    troubleshooting "troubleshooting";
}

/// The page called `name`.
#[must_use]
pub fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_heading_and_a_body() {
        for topic in TOPICS {
            assert!(topic.text.starts_with("# "), "{} does not begin with a heading", topic.name);
            assert!(topic.text.lines().filter(|line| !line.is_empty()).count() > 1, "{} has no body", topic.name);
            assert_eq!(super::topic(topic.name), Some(topic));
        }
    }
}
