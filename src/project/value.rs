//! What an expression stands for.

/// What an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A variable of the environment, and its value if it is not set.
    Variable {
        /// Its name.
        name: String,
        /// The default.
        default: Option<String>,
    },
}

impl Value {
    pub(super) fn variable(name: impl Into<String>) -> Self {
        Self::Variable { name: name.into(), default: None }
    }

    /// The same with this default, if it is a variable without one.
    pub(super) fn or(self, text: Option<Self>) -> Self {
        match (self, text) {
            (Self::Variable { name, default: None }, Some(Self::Text(text))) => {
                Self::Variable { name, default: Some(text) }
            }
            (own, _) => own,
        }
    }

    /// The text, or the name of the variable.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Variable { .. } => None,
        }
    }
}

/// Whether a text is the name of a variable of the environment.
pub(super) fn is_variable(text: &str) -> bool {
    text.len() > 2
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}
