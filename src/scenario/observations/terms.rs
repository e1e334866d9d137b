//! What the contract and the settings say about the assessment of a scenario run.

use secrecy::SecretString;

use super::super::redaction::redact;
use crate::settings::EvidenceContract;

/// The terms by which a scenario run is assessed.
#[derive(Debug, Clone)]
pub struct ContractTerms {
    /// The evidence contract of the worker: which fields and columns say what.
    pub evidence: EvidenceContract,
    /// The factor by which deadlines are extended.
    pub timeout_factor: f64,
    /// Secrets that must not be in the output, by variable.
    pub secrets: Vec<(String, SecretString)>,
    /// Values that reports must not contain: the secrets above and the variables the contract takes from the
    /// environment.
    pub private: Vec<SecretString>,
}

impl ContractTerms {
    /// `text` without private values.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        redact(text, &self.private)
    }
}
