//! Waivers: failures that are accepted until a date.

use crate::outcome::{CaseRecord, Verdict, Word};
use crate::settings::{Settings, Waiver};

/// A failure that is accepted until a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waived {
    /// The id of the case.
    pub case: String,
    /// Why the failure is accepted.
    pub reason: String,
    /// The last valid day, `YYYY-MM-DD`.
    pub expires: String,
    /// Whether that day is past.
    pub expired: bool,
}

/// The waivers of the settings, as of today.
#[must_use]
pub fn waived(settings: &Settings) -> Vec<Waived> {
    let today = jiff::Zoned::now().date();
    let waived = |waiver: &Waiver| Waived {
        case: waiver.case.clone(),
        reason: waiver.reason.clone(),
        expires: waiver.expires.to_string(),
        expired: !waiver.counts_on(today),
    };
    settings.config().waivers.iter().map(waived).collect()
}

/// Marks the failure that `waiver` accepts as waived. A waiver that is expired or stale becomes a note.
pub(super) fn apply(waiver: &Waived, cases: &mut [CaseRecord], notes: &mut Vec<String>) {
    let Some(record) = cases.iter_mut().find(|record| record.id == waiver.case) else { return };
    let failure = record.verdict.reason().unwrap_or_default().to_owned();
    match record.verdict.word() {
        Word::Fail | Word::Warn if waiver.expired => {
            notes.push(format!(
                "the waiver of {} expired on {}: fix the case or renew the waiver",
                waiver.case, waiver.expires
            ));
        }
        Word::Fail | Word::Warn => {
            let reason = format!("{} ({failure})", waiver.reason);
            record.judge(Verdict::Waived { reason, expires: waiver.expires.clone() });
        }
        Word::Pass => notes.push(format!("stale waiver: {} passes now; remove it from [waive]", waiver.case)),
        Word::Skip | Word::Unknown | Word::Waived => {}
    }
}
