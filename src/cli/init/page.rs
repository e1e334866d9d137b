//! The contract as commented text, with the lists of what was read and what was guessed.

use crate::project::Place;

/// What a line of the contract rests on.
#[derive(Debug, Clone)]
pub(super) enum Basis {
    /// It was read here.
    Read(Place),
    /// Nothing says so.
    Guessed,
    /// The user said so.
    Answered,
}

impl Basis {
    /// Read at the place, if there is one; otherwise guessed.
    pub(super) fn of(place: Option<&Place>) -> Self {
        place.map_or(Self::Guessed, |place| Self::Read(place.clone()))
    }
}

/// The text of a contract while it is written.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// What was read, with its places.
    pub(super) read: Vec<String>,
    /// What was guessed.
    pub(super) guessed: Vec<String>,
}

impl Page {
    /// A line as it is.
    pub(super) fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A key with its value, what it rests on, and a sentence for the list.
    pub(super) fn key(&mut self, line: &str, basis: &Basis, sentence: &str) {
        let note = match basis {
            Basis::Read(place) => format!("# {place}"),
            Basis::Guessed => "# guessed".to_owned(),
            Basis::Answered => "# as you said".to_owned(),
        };
        self.text.push_str(&format!("{line}   {}\n", one_line(&note)));
        self.list(basis, sentence);
    }

    /// A sentence for the list alone.
    pub(super) fn list(&mut self, basis: &Basis, sentence: &str) {
        match basis {
            Basis::Read(place) => self.read.push(format!("{sentence} ({place})")),
            Basis::Guessed => self.guessed.push(sentence.to_owned()),
            Basis::Answered => {}
        }
    }
}

/// A text as a basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Texts as an array of TOML.
pub(super) fn array(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// A key of TOML: bare if it can be.
pub(super) fn bare(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A text for a comment: a name of a file may have a line break in it.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
