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
            record.set_verdict(Verdict::Waived { reason, expires: waiver.expires.clone() });
        }
        Word::Pass => notes.push(format!("stale waiver: {} passes now; remove it from [waive]", waiver.case)),
        Word::Skip | Word::Unknown | Word::Waived => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing::report;

    fn waiver(expired: bool) -> Waived {
        Waived { case: "a.b".to_owned(), reason: "known".to_owned(), expires: "2030-01-31".to_owned(), expired }
    }

    #[test]
    fn a_waived_failure_keeps_the_reason_of_the_failure() {
        let (mut cases, mut notes) = (report(&[("a.b", Word::Fail)]).cases, Vec::new());
        apply(&waiver(false), &mut cases, &mut notes);
        assert_eq!((cases[0].verdict.word(), cases[0].verdict.reason()), (Word::Waived, Some("known (because)")));
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn an_expired_waiver_changes_no_verdict_and_becomes_a_note() {
        let (mut cases, mut notes) = (report(&[("a.b", Word::Fail)]).cases, Vec::new());
        apply(&waiver(true), &mut cases, &mut notes);
        assert_eq!(cases[0].verdict.word(), Word::Fail);
        assert_eq!(notes, ["the waiver of a.b expired on 2030-01-31: fix the case or renew the waiver"]);
    }

    #[test]
    fn a_waiver_of_a_passing_case_is_stale() {
        let (mut cases, mut notes) = (report(&[("a.b", Word::Pass)]).cases, Vec::new());
        apply(&waiver(false), &mut cases, &mut notes);
        assert_eq!(cases[0].verdict.word(), Word::Pass);
        assert_eq!(notes, ["stale waiver: a.b passes now; remove it from [waive]"]);
    }
}
