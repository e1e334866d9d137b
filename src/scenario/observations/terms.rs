//! What the contract and the settings say about the assessment of a scenario run.

use secrecy::SecretString;

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
}
