//! `[[waive]]`: a known failure that is accepted, with a reason, until a date.

use jiff::civil::Date;

/// A known failure of one case, accepted until a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// Id of the case, such as `redis.persistence`.
    pub case: String,
    /// Why the failure is accepted.
    pub reason: String,
    /// The last day on which the waiver is valid.
    pub expires: Date,
}

impl Waiver {
    /// Whether the waiver is valid on `today`.
    #[must_use]
    pub fn counts_on(&self, today: Date) -> bool {
        today <= self.expires
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_waiver_counts_on_its_last_day_and_not_on_the_next() {
        let waiver = Waiver { case: "redis.aof".into(), reason: "cache".into(), expires: date(2027, 1, 31) };
        assert!(waiver.counts_on(date(2027, 1, 31)));
        assert!(!waiver.counts_on(date(2027, 2, 1)));
    }
}
