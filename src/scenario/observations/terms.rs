//! What the contract and the settings say about the assessment of a scenario run.

use std::time::Duration;

use secrecy::SecretString;

use crate::settings::{ChunksContract, Contract, EmbeddingsContract, EvidenceContract, Idle};

/// The terms by which a scenario run is assessed.
#[derive(Debug, Clone)]
pub struct ContractTerms {
    /// The evidence contract of the worker: which fields and columns say what.
    pub evidence: EvidenceContract,
    /// What the worker promises about its chunks.
    pub chunks: ChunksContract,
    /// What the worker promises about its requests for embeddings.
    pub embeddings: EmbeddingsContract,
    /// Exit codes after SIGTERM that are a clean end.
    pub exit_codes: Vec<i32>,
    /// What the worker does when no jobs wait.
    pub idle: Idle,
    /// How long a job waits between its attempts in total if each fails.
    pub retry_waits: Duration,
    /// The factor by which deadlines are extended.
    pub timeout_factor: f64,
    /// Secrets that must not be in the output, by variable.
    pub secrets: Vec<(String, SecretString)>,
}

impl ContractTerms {
    /// The terms of `contract`.
    pub(in crate::scenario) fn new(contract: &Contract, secrets: Vec<(String, SecretString)>) -> Self {
        Self {
            evidence: contract.evidence.clone(),
            chunks: contract.chunks.clone(),
            embeddings: contract.embeddings.clone(),
            exit_codes: contract.worker.exit_codes.clone(),
            idle: contract.worker.idle,
            retry_waits: contract.queue.job.retry_waits(),
            timeout_factor: contract.worker.timeout_factor,
            secrets,
        }
    }
}
