//! Planted defects, for tests that prove a case can fail. Without the feature `defects` none exists.

/// A way in which the reference worker can be wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The last chunk of a document is not stored.
    DropsLastChunk,
    /// The last batch of a document is not stored if its chunks exactly fill its batches.
    LosesFullLastBatch,
    /// Chunks do not overlap.
    NoOverlap,
    /// Chunks of 600 tokens.
    BigChunks,
    /// Chunks of 20,000 tokens, which the embeddings API is asked to truncate.
    TruncatesChunks,
    /// Point ids are random: each run makes new ones.
    RandomIds,
    /// Points of older versions stay.
    KeepsStaleTail,
    /// 101 texts in a request.
    BigBatches,
    /// One text in a request.
    OneTextPerRequest,
    /// Vectors are paired with texts in another order.
    IgnoresIndex,
    /// A missing vector is replaced by a made-up one.
    SwallowsErrors,
    /// Every third document completes without being stored.
    LosesDocuments,
    /// Documents without text are embedded anyway.
    EmbedsEmpty,
    /// Documents without text leave no row.
    SkipsSilently,
    /// Characters beyond ASCII are replaced.
    StripsUnicode,
    /// White space at the ends of a chunk is removed.
    TrimsChunks,
    /// Requests set the query task.
    WrongTask,
    /// Rows are not written.
    NoRow,
    /// Rows count one chunk too many.
    WrongCount,
    /// Every point is stored a second time under another id.
    DuplicatesPoints,
    /// Rejected input is retried.
    RetriesRejectedInput,
    /// The first failure of a job drops its other writes.
    AbandonsWrites,
    /// A rejected document is marked as ready.
    RejectedMarkedReady,
    /// SIGTERM is ignored.
    IgnoresSignals,
    /// Exit code 1 on SIGTERM.
    ExitsWithOne,
    /// The payload has no chunk index.
    NoChunkIndex,
    /// Chunk indices begin at 1.
    IndexFromOne,
    /// The key is logged.
    LogsKey,
    /// A job that removes a document completes without removing anything.
    DeleteDoesNothing,
    /// The log is plain text.
    LogsPlainText,
    /// Every request is sent twice.
    EmbedsTwice,
    /// Every document's first attempt fails.
    FirstAttemptFails,
    /// Each job leaks 64 MiB.
    LeaksMemory,
    /// Requests are not limited in number.
    NoSemaphore,
    /// The worker takes jobs from another queue.
    WrongQueue,
    /// Jobs never end.
    NeverEnds,
    /// After one rejected document, every later document fails.
    RejectionSpreads,
    /// The row says `ready` before anything is stored; every third document is never stored.
    MarksDoneFirst,
    /// Writes to Qdrant do not wait.
    WaitFalse,
    /// U+0000 is dropped from the text of chunks.
    DropsNul,
    /// Requests have no task.
    NoTask,
    /// Every job fails.
    FailsJobs,
    /// The worker ends at once with code 1.
    CrashesAtStart,
    /// The worker asks for a vector when it starts, and ends with code 1 if it gets none.
    EmbedsAtStart,
    /// The first error of a service is final: the job fails permanently, and without Redis the worker ends.
    FirstErrorIsFinal,
    /// A connection whose statement failed in a transaction is used again without a rollback.
    KeepsAbortedTransaction,
    /// The worker exits if it gets no answer about its collection when it starts.
    ChecksCollectionOnce,
    /// SIGTERM that arrives before the worker is ready is lost.
    DropsSignalAtStart,
    /// A job whose worker died fails.
    NoStalledRecovery,
    /// The row of a job that stalled too often stays `processing`.
    StalledOutRowUnchanged,
    /// On SIGTERM the worker ends at once, with active jobs.
    DropsOnSigterm,
    /// On SIGTERM active jobs complete without being done.
    AcksOnSigterm,
    /// Calls longer than 400 ms fail permanently.
    ShortCallTimeout,
    /// Failed calls are retried at once, without a breaker.
    NoBackoff,
    /// All retry delays are equal.
    FixedBackoff,
    /// `Retry-After` is ignored.
    IgnoresRetryAfter,
    /// No circuit breaker.
    NoBreaker,
    /// A rejected API key is retried.
    RetriesRejectedKey,
    /// A document without embeddings because of a rejected key is marked as done.
    RejectedKeyMarkedReady,
    /// After SIGTERM the worker takes jobs until the grace is over.
    TakesJobsAfterSigterm,
    /// After SIGTERM the worker waits for active jobs without limit.
    ExceedsGracePeriod,
    /// Every job opens its own connections, and keeps them.
    ConnectsForEachJob,
    /// After an outage of Redis the worker runs on without taking jobs.
    NeverReconnects,
    /// A batch of points that could not be stored is skipped.
    SkipsFailedBatches,
    /// The points of a document are removed before new ones are stored.
    DeletesFirst,
    /// A failed request is never retried, and its job never ends.
    HangsAfterFailedRequest,
    /// Chunks are cut between bytes, even inside a character.
    SplitsCodePoints,
    /// Texts and vectors are zipped, and a response with too few vectors is accepted.
    AcceptsTooFewVectors,
    /// Requests to the embeddings API have no timeout.
    NoTimeLimit,
    /// Another process keeps connections open after the worker's end.
    LeavesConnections,
    /// A connection that ends or is refused is reopened at once, to every service.
    ReconnectsWithoutDelay,
    /// A job that is two minutes old by the worker's clock is dropped.
    DropsOldJobs,
    /// The numbers of jobs are ignored.
    IgnoresOrder,
    /// The numbers of jobs are compared before the work, and not with the writes.
    ComparesOrderFirst,
    /// A removal deletes the row, so that an older job does not know of it.
    LeavesNoTombstone,
    /// A version removes all others, also newer ones.
    DeletesNewerPoints,
    /// A job that is not the newest keeps the points that it has stored.
    KeepsOutdatedPoints,
}

impl Defect {
    /// Every defect with its name in `SHAKEDOWN_DEFECT`.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("drops-last-chunk", Self::DropsLastChunk),
        ("loses-full-last-batch", Self::LosesFullLastBatch),
        ("no-overlap", Self::NoOverlap),
        ("big-chunks", Self::BigChunks),
        ("truncates-chunks", Self::TruncatesChunks),
        ("random-ids", Self::RandomIds),
        ("keeps-stale-tail", Self::KeepsStaleTail),
        ("big-batches", Self::BigBatches),
        ("one-text-per-request", Self::OneTextPerRequest),
        ("ignores-index", Self::IgnoresIndex),
        ("swallows-errors", Self::SwallowsErrors),
        ("loses-documents", Self::LosesDocuments),
        ("embeds-empty", Self::EmbedsEmpty),
        ("skips-silently", Self::SkipsSilently),
        ("strips-unicode", Self::StripsUnicode),
        ("trims-chunks", Self::TrimsChunks),
        ("wrong-task", Self::WrongTask),
        ("no-row", Self::NoRow),
        ("wrong-count", Self::WrongCount),
        ("duplicates-points", Self::DuplicatesPoints),
        ("retries-rejected-input", Self::RetriesRejectedInput),
        ("abandons-writes", Self::AbandonsWrites),
        ("rejected-marked-ready", Self::RejectedMarkedReady),
        ("ignores-signals", Self::IgnoresSignals),
        ("exits-with-one", Self::ExitsWithOne),
        ("no-chunk-index", Self::NoChunkIndex),
        ("index-from-one", Self::IndexFromOne),
        ("logs-key", Self::LogsKey),
        ("delete-does-nothing", Self::DeleteDoesNothing),
        ("logs-plain-text", Self::LogsPlainText),
        ("embeds-twice", Self::EmbedsTwice),
        ("first-attempt-fails", Self::FirstAttemptFails),
        ("leaks-memory", Self::LeaksMemory),
        ("no-semaphore", Self::NoSemaphore),
        ("wrong-queue", Self::WrongQueue),
        ("never-ends", Self::NeverEnds),
        ("rejection-spreads", Self::RejectionSpreads),
        ("marks-done-first", Self::MarksDoneFirst),
        ("wait-false", Self::WaitFalse),
        ("drops-nul", Self::DropsNul),
        ("no-task", Self::NoTask),
        ("fails-jobs", Self::FailsJobs),
        ("crashes-at-start", Self::CrashesAtStart),
        ("embeds-at-start", Self::EmbedsAtStart),
        ("first-error-is-final", Self::FirstErrorIsFinal),
        ("keeps-aborted-transaction", Self::KeepsAbortedTransaction),
        ("checks-collection-once", Self::ChecksCollectionOnce),
        ("drops-signal-at-start", Self::DropsSignalAtStart),
        ("no-stalled-recovery", Self::NoStalledRecovery),
        ("stalled-out-row-unchanged", Self::StalledOutRowUnchanged),
        ("drops-on-sigterm", Self::DropsOnSigterm),
        ("acks-on-sigterm", Self::AcksOnSigterm),
        ("short-call-timeout", Self::ShortCallTimeout),
        ("no-backoff", Self::NoBackoff),
        ("fixed-backoff", Self::FixedBackoff),
        ("ignores-retry-after", Self::IgnoresRetryAfter),
        ("no-breaker", Self::NoBreaker),
        ("retries-rejected-key", Self::RetriesRejectedKey),
        ("rejected-key-marked-ready", Self::RejectedKeyMarkedReady),
        ("takes-jobs-after-sigterm", Self::TakesJobsAfterSigterm),
        ("exceeds-grace-period", Self::ExceedsGracePeriod),
        ("connects-for-each-job", Self::ConnectsForEachJob),
        ("never-reconnects", Self::NeverReconnects),
        ("skips-failed-batches", Self::SkipsFailedBatches),
        ("deletes-first", Self::DeletesFirst),
        ("hangs-after-failed-request", Self::HangsAfterFailedRequest),
        ("splits-code-points", Self::SplitsCodePoints),
        ("accepts-too-few-vectors", Self::AcceptsTooFewVectors),
        ("no-time-limit", Self::NoTimeLimit),
        ("leaves-connections", Self::LeavesConnections),
        ("reconnects-without-delay", Self::ReconnectsWithoutDelay),
        ("drops-old-jobs", Self::DropsOldJobs),
        ("ignores-order", Self::IgnoresOrder),
        ("compares-order-first", Self::ComparesOrderFirst),
        ("leaves-no-tombstone", Self::LeavesNoTombstone),
        ("deletes-newer-points", Self::DeletesNewerPoints),
        ("keeps-outdated-points", Self::KeepsOutdatedPoints),
    ];

    /// The defect with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, defect)| *defect)
    }
}

#[cfg(feature = "defects")]
static PLANTED: std::sync::OnceLock<Defect> = std::sync::OnceLock::new();

/// Plants `defect` for the rest of this process.
#[cfg(feature = "defects")]
pub(super) fn plant(defect: Defect) {
    // One defect per process: the first stays.
    let _ = PLANTED.set(defect);
}

/// Whether `defect` is planted.
#[cfg(feature = "defects")]
pub(super) fn planted(defect: Defect) -> bool {
    PLANTED.get() == Some(&defect)
}

/// Without the feature nothing is planted, and the compiler removes every check.
#[cfg(not(feature = "defects"))]
pub(super) const fn planted(_defect: Defect) -> bool {
    false
}
