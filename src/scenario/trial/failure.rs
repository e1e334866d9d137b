//! What is not as the contract says, when the first document shows it.

use crate::services::queue_watch::Registration;

/// The first thing that was not so. Texts that come from the worker are without secrets.
#[derive(Debug, Clone, PartialEq)]
pub enum TrialFailure {
    /// It ended before it took the job.
    Ended {
        /// How, such as `exited with code 1`.
        how: String,
        /// Its last errors.
        errors: String,
    },
    /// It is not ready.
    NotReady {
        /// How long it was waited for, in seconds; `None` if it has registered on other queues only.
        seconds: Option<f64>,
        /// The queue of the contract.
        wanted: Registration,
        /// Where it has registered.
        elsewhere: Vec<Registration>,
        /// Queues that exist in Redis, besides those of the harness.
        queues: Vec<Registration>,
        /// Its last errors.
        errors: String,
    },
    /// It is ready, and does not take the job.
    NotTaken {
        /// How long it was waited for, in seconds.
        seconds: f64,
        /// The queue of the contract.
        wanted: Registration,
        /// Whether it is registered there.
        registered: bool,
        /// Where else it has registered.
        elsewhere: Vec<Registration>,
        /// Its last errors.
        errors: String,
    },
    /// Its job failed.
    JobFailed {
        /// The reason.
        reason: String,
        /// Attempts that it made.
        attempts: u64,
        /// Its last errors.
        errors: String,
    },
    /// It took the job, and the job did not end.
    NotFinished {
        /// How long it was waited for, in seconds.
        seconds: f64,
        /// Its last errors.
        errors: String,
    },
    /// The points are not where the contract says.
    Points(PointsProblem),
    /// The row is not where the contract says.
    Row(RowProblem),
}

impl TrialFailure {
    /// Whether it is only that something took too long.
    pub(super) const fn rests_on_time(&self) -> bool {
        match self {
            Self::NotReady { seconds, .. } => seconds.is_some(),
            Self::NotTaken { elsewhere, .. } => elsewhere.is_empty(),
            Self::NotFinished { .. } => true,
            Self::Ended { .. } | Self::JobFailed { .. } | Self::Points(_) | Self::Row(_) => false,
        }
    }
}

/// Why the points of the document are not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointsProblem {
    /// The collection does not exist, or has no points. `elsewhere`: collections with points, and the number of them.
    NoPoints {
        /// The collection of the contract.
        collection: String,
        /// Whether it exists.
        exists: bool,
        /// Collections that have points.
        elsewhere: Vec<(String, u64)>,
    },
    /// No point has the field.
    NoField {
        /// The key of the contract, such as `document`.
        key: &'static str,
        /// The field that the contract names.
        field: String,
        /// The fields that the points have.
        seen: Vec<String>,
        /// The field that holds what the contract's should hold.
        instead: Option<String>,
    },
    /// No point has the document's id in its field.
    OtherDocument {
        /// The field that the contract names.
        field: String,
        /// A value in it.
        value: String,
        /// The document's id.
        document: String,
        /// The field that holds the id.
        instead: Option<String>,
    },
}

/// Why the row of the document is not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowProblem {
    /// The table does not exist.
    NoTable {
        /// The message of Postgres.
        message: String,
        /// Tables that exist.
        tables: Vec<String>,
    },
    /// A column does not exist.
    NoColumn {
        /// The key of the contract, such as `status`.
        key: &'static str,
        /// The column that the contract names.
        column: String,
        /// The columns of the table.
        columns: Vec<String>,
    },
    /// Postgres cannot read the rows as the contract says.
    Unreadable {
        /// The message of Postgres.
        message: String,
    },
    /// No row has the document's id.
    NoRow {
        /// The column that the contract names.
        column: String,
        /// The document's id.
        document: String,
        /// Ids of rows that exist, at most three.
        others: Vec<String>,
    },
    /// The row does not say that the document is stored.
    OtherStatus {
        /// What it says.
        status: String,
        /// What the contract wants.
        done: String,
    },
}
