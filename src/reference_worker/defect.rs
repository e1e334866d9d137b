//! Planted defects, for tests that prove a case can fail. Without the feature `defects` none exists.

/// A way in which the reference worker can be wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The last chunk of a document is not stored.
    DropsLastChunk,
    /// Chunks share nothing.
    NoOverlap,
    /// Chunks of 600 tokens.
    BigChunks,
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
    /// A vector that could not be had is replaced by a made-up one.
    SwallowsErrors,
    /// Every third document completes without being stored.
    LosesDocuments,
    /// Documents without text are embedded all the same.
    EmbedsEmpty,
    /// Documents without text leave no row.
    SkipsSilently,
    /// Characters beyond ASCII are replaced.
    StripsUnicode,
    /// White space at the ends of a chunk is cut off.
    TrimsChunks,
    /// Requests name the query task.
    WrongTask,
    /// Rows are not written.
    NoRow,
    /// Rows say one chunk too many.
    WrongCount,
    /// Every point is stored a second time under another id.
    DuplicatesPoints,
    /// Rejected input is tried again and again.
    RetriesPoison,
    /// The first failure of a job drops the writes that are under way.
    LeavesWrites,
    /// A rejected document is marked as done.
    PoisonDone,
    /// SIGTERM is ignored.
    IgnoresSignals,
    /// Exit code 1 on SIGTERM.
    ExitsWithOne,
    /// The payload does not name the chunk's index.
    NoChunkIndex,
    /// Chunk indices begin at 1.
    IndexFromOne,
    /// The key is logged.
    LogsKey,
    /// A job that removes a document is called done, and nothing is removed.
    ForgetsToDelete,
    /// The log holds plain text.
    LogsPlainText,
    /// Every request is sent twice.
    EmbedsTwice,
    /// Every document's first attempt fails.
    FirstAttemptFails,
    /// 64 MiB are held for each job.
    HoldsMemory,
    /// No limit on requests at once.
    NoSemaphore,
    /// The worker waits for jobs on another queue.
    Unregistered,
    /// Jobs are taken and never ended.
    NeverEnds,
    /// One poison document fails every document that comes after it.
    PoisonSpreads,
    /// The row says `ready` before anything is stored; for every third document nothing ever is.
    MarksDoneFirst,
    /// Qdrant is not asked to wait until a write is done.
    WaitFalse,
    /// U+0000 is dropped from the text of chunks.
    LosesNul,
    /// Requests name no task.
    NoTask,
    /// Every job fails.
    FailsJobs,
    /// The worker ends at once with code 1.
    CrashesAtStart,
    /// The first error of a service is taken for the last: the job fails for good, and without Redis the worker ends.
    GivesUp,
    /// A job whose worker died is given up.
    NoStalledRecovery,
    /// The row of a job that stalled too often goes on saying `processing`.
    StalledOutUntold,
    /// On SIGTERM the worker ends at once, with its jobs in work.
    DropsOnSigterm,
    /// On SIGTERM, jobs in work are called done.
    AcksOnSigterm,
    /// What takes longer than four tenths of a second is taken for lost, for good.
    Impatient,
    /// What failed is tried again at once, breaker or not.
    NoBackoff,
    /// Every wait before a retry is the same.
    FixedBackoff,
    /// The wait that the service asks for is not kept.
    IgnoresRetryAfter,
    /// No circuit breaker.
    NoBreaker,
    /// A refused key is tried again and again.
    RetriesRefusals,
    /// A document that could not be embedded for want of a key is marked as done.
    DoneOnRefusal,
    /// After SIGTERM jobs are taken until the grace is over.
    TakesJobsAfterSigterm,
    /// After SIGTERM jobs in work are waited for without end.
    OverstaysGrace,
    /// Every job makes connections of its own, and keeps them.
    ConnectsForEachJob,
    /// Once Redis was away, the worker takes no job any more, and goes on running.
    NeverReconnects,
    /// A batch of points that could not be stored is left out.
    SkipsFailedBatches,
    /// The points of a document are removed before new ones are stored.
    DeletesFirst,
    /// A request that failed once is never tried again, and its job never ends.
    DelaysForEver,
    /// Chunks are cut between bytes, also inside a character.
    SplitsCodePoints,
    /// Texts and vectors are paired for as long as there are vectors, and an answer with too few is taken for whole.
    ZipsShortAnswers,
    /// Requests to the embeddings API have no time limit.
    NoTimeLimit,
    /// Another process keeps the connections open when the worker has ended.
    LeavesConnections,
    /// A connection that ends or is refused is made again at once, to every service.
    StormsReconnecting,
    /// A job that is two minutes old by the worker's clock is thrown away.
    DropsOldJobs,
}

impl Defect {
    /// Every defect with the name that `SHAKEDOWN_DEFECT` gives it.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("drops-last-chunk", Self::DropsLastChunk),
        ("no-overlap", Self::NoOverlap),
        ("big-chunks", Self::BigChunks),
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
        ("retries-poison", Self::RetriesPoison),
        ("leaves-writes", Self::LeavesWrites),
        ("poison-done", Self::PoisonDone),
        ("ignores-signals", Self::IgnoresSignals),
        ("exits-with-one", Self::ExitsWithOne),
        ("no-chunk-index", Self::NoChunkIndex),
        ("index-from-one", Self::IndexFromOne),
        ("logs-key", Self::LogsKey),
        ("forgets-to-delete", Self::ForgetsToDelete),
        ("logs-plain-text", Self::LogsPlainText),
        ("embeds-twice", Self::EmbedsTwice),
        ("first-attempt-fails", Self::FirstAttemptFails),
        ("holds-memory", Self::HoldsMemory),
        ("no-semaphore", Self::NoSemaphore),
        ("unregistered", Self::Unregistered),
        ("never-ends", Self::NeverEnds),
        ("poison-spreads", Self::PoisonSpreads),
        ("marks-done-first", Self::MarksDoneFirst),
        ("wait-false", Self::WaitFalse),
        ("loses-nul", Self::LosesNul),
        ("no-task", Self::NoTask),
        ("fails-jobs", Self::FailsJobs),
        ("crashes-at-start", Self::CrashesAtStart),
        ("gives-up", Self::GivesUp),
        ("no-stalled-recovery", Self::NoStalledRecovery),
        ("stalled-out-untold", Self::StalledOutUntold),
        ("drops-on-sigterm", Self::DropsOnSigterm),
        ("acks-on-sigterm", Self::AcksOnSigterm),
        ("impatient", Self::Impatient),
        ("no-backoff", Self::NoBackoff),
        ("fixed-backoff", Self::FixedBackoff),
        ("ignores-retry-after", Self::IgnoresRetryAfter),
        ("no-breaker", Self::NoBreaker),
        ("retries-refusals", Self::RetriesRefusals),
        ("done-on-refusal", Self::DoneOnRefusal),
        ("takes-jobs-after-sigterm", Self::TakesJobsAfterSigterm),
        ("overstays-grace", Self::OverstaysGrace),
        ("connects-for-each-job", Self::ConnectsForEachJob),
        ("never-reconnects", Self::NeverReconnects),
        ("skips-failed-batches", Self::SkipsFailedBatches),
        ("deletes-first", Self::DeletesFirst),
        ("delays-for-ever", Self::DelaysForEver),
        ("splits-code-points", Self::SplitsCodePoints),
        ("zips-short-answers", Self::ZipsShortAnswers),
        ("no-time-limit", Self::NoTimeLimit),
        ("leaves-connections", Self::LeavesConnections),
        ("storms-reconnecting", Self::StormsReconnecting),
        ("drops-old-jobs", Self::DropsOldJobs),
    ];

    /// The defect of this name.
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
    // A second one would have to be a second process; the first stays.
    let _ = PLANTED.set(defect);
}

/// Whether `defect` is planted.
#[cfg(feature = "defects")]
pub(super) fn planted(defect: Defect) -> bool {
    PLANTED.get() == Some(&defect)
}

/// Without the feature nothing is planted, and the compiler removes every hook.
#[cfg(not(feature = "defects"))]
pub(super) const fn planted(_defect: Defect) -> bool {
    false
}
