//! `[embeddings]`: what the worker promises about its requests for embeddings.

/// `[embeddings]`: the task of the requests, and texts that are no chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingsContract {
    /// The task that every request must name; `None` if requests name no task.
    pub task: Option<String>,
    /// Whether the contract declares the task: otherwise another one is a warning.
    pub declared: bool,
    /// Texts that a library embeds when it is set up, to learn the size of the vectors. They are not judged.
    pub setup_texts: Vec<String>,
}

impl Default for EmbeddingsContract {
    fn default() -> Self {
        Self { task: Some("retrieval.passage".to_owned()), declared: false, setup_texts: Vec::new() }
    }
}

impl EmbeddingsContract {
    /// Whether a request with these texts belongs to the set-up of a library.
    #[must_use]
    pub fn is_setup(&self, texts: &[String]) -> bool {
        !texts.is_empty() && texts.iter().all(|text| self.setup_texts.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_belongs_to_the_set_up_only_if_all_its_texts_do() {
        let contract = EmbeddingsContract { setup_texts: vec!["dummy_text".to_owned()], ..Default::default() };
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(contract.is_setup(&texts(&["dummy_text"])));
        assert!(!contract.is_setup(&texts(&["dummy_text", "A chunk."])));
        assert!(!contract.is_setup(&[]));
        assert!(!EmbeddingsContract::default().is_setup(&texts(&["dummy_text"])));
    }
}
