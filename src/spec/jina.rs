//! Abnormal answers of the mock of Jina's embeddings API, as a scenario lists them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One answer to some requests. Of several behaviours that apply to a request, delays add up, the first that replaces the
/// answer wins, and all that change a good answer are applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Which requests; all by default.
    #[serde(default)]
    pub when: When,
    /// Their answer.
    pub answer: Answer,
}

impl Behaviour {
    /// The behaviour for a worker with this grace period.
    #[must_use]
    pub fn for_grace(&self, grace: Duration) -> Self {
        let answer = match &self.answer {
            Answer::BeyondGrace { ms } => {
                let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                Answer::Delay { ms: grace.saturating_add(*ms), jitter: 0 }
            }
            other => other.clone(),
        };
        Self { when: self.when.clone(), answer }
    }
}

/// Which requests a behaviour applies to, counted from 1 in the order of their arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every request.
    #[default]
    All,
    /// The first `n` requests.
    First(u64),
    /// The n-th, 2n-th, 3n-th … request.
    Every(u64),
    /// Only the n-th request.
    Nth(u64),
    /// Requests with a text that contains this.
    TextContains(String),
    /// Requests with a text of this revision of a document: 1 is the original, 2 what the first step `revise` makes of it.
    Revision(usize),
    /// Requests with the end of a document, in its version of the step in which the fault begins. Only in a fault.
    DocumentEnds,
}

impl When {
    /// Whether it applies to the `nth` request, with these texts.
    #[must_use]
    pub fn applies(&self, nth: u64, texts: &[String]) -> bool {
        match self {
            Self::All => true,
            Self::First(count) => nth <= *count,
            Self::Every(step) => *step > 0 && nth.is_multiple_of(*step),
            Self::Nth(which) => nth == *which,
            Self::TextContains(needle) => texts.iter().any(|text| text.contains(needle)),
            Self::Revision(number) => texts.iter().any(|text| revision_of(text) == *number),
            // A fault replaces it by what the ends are.
            Self::DocumentEnds => false,
        }
    }
}

/// What stands before the number of a revision in its text.
const REVISION: &str = "revision-";

/// The word by which the text of a revision is known.
#[must_use]
pub fn revision_word(number: usize) -> String {
    format!("{REVISION}{number}")
}

/// The revision that a text, or a part of it, belongs to. The original names none.
#[must_use]
pub fn revision_of(text: &str) -> usize {
    let mut numbers = text.split(REVISION).skip(1).map(|after| {
        let end = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
        after[..end].parse().ok()
    });
    // A chunk may begin or end within the word.
    numbers.find_map(|number| number).unwrap_or(1)
}

/// What a request gets instead of a good answer, or how a good answer is changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// An error.
    Status {
        /// HTTP status, such as 429.
        code: u16,
        /// The body.
        #[serde(default)]
        body: Body,
        /// The `Retry-After` header.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// The answer is delayed.
    Delay {
        /// Milliseconds.
        ms: u64,
        /// Up to this many milliseconds more, derived from the mock's seed.
        #[serde(default)]
        jitter: u64,
    },
    /// The answer is delayed until after the grace period of a worker that gets SIGTERM when the request arrives.
    BeyondGrace {
        /// Milliseconds after the end of the grace period.
        ms: u64,
    },
    /// Status 200 with a body that is not JSON.
    Malformed,
    /// Status 200 with a good body that ends in the middle.
    Truncated,
    /// The connection is held open and never answered.
    Hang,
    /// One item of the list is missing.
    MissingItem,
    /// One extra item, with an index that was not requested.
    ExtraItem,
    /// One vector holds a value that is not a number: `null` in a list of floats, NaN in base64.
    Nan,
    /// Vectors of this size instead of the requested one.
    WrongDimensions(u32),
    /// The answer is that of another model than the requested one, and names it.
    WrongModel,
    /// An empty list.
    EmptyData,
    /// One vector is all zeros.
    ZeroVector,
    /// Every text gets the vector of the first.
    SameVector,
    /// Items in another order than the texts. The real service sends them in the order of the texts, and documents an
    /// index for each.
    Shuffled,
    /// Two items have the same index.
    WrongIndex,
}

/// The body of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Jina's, with the code for the status.
    #[default]
    Jina,
    /// Jina's, with this code, such as `RATE_TOKEN_LIMIT_EXCEEDED`.
    Code(String),
    /// An HTML page, as from a gateway.
    Html,
    /// Nothing.
    Empty,
}

/// A `Retry-After` header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// No header, as in Jina's own specification.
    #[default]
    None,
    /// Seconds from now.
    Seconds(u64),
    /// Seconds from now, written as an HTTP date.
    HttpDate(u64),
    /// Neither a number nor a date, so that no wait can be derived from it.
    Unreadable,
}

/// Rate limits of the mock's key; absent means unlimited. Jina's own pages disagree about the real ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per window.
    pub rpm: Option<u32>,
    /// Tokens per window.
    pub tpm: Option<u64>,
    /// Concurrent requests.
    pub concurrency: Option<u32>,
    /// Length of the window in milliseconds; a minute by default, as for a real key.
    pub window_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rpm: None, tpm: None, concurrency: None, window_ms: 60_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Suite {
        behaviours: Vec<Behaviour>,
    }

    #[test]
    fn behaviours_are_written_as_toml() {
        let suite: Suite = toml::from_str(
            r#"
            [[behaviours]]
            when.first = 3
            answer.status = { code = 429, retry_after.seconds = 1 }
            [[behaviours]]
            answer.delay = { ms = 50, jitter = 10 }
            [[behaviours]]
            when.text_contains = "poison"
            answer.status = { code = 400, body.code = "INPUT_TOKEN_LIMIT_EXCEEDED" }
            [[behaviours]]
            when.nth = 2
            answer = "zero_vector"
            "#,
        )
        .unwrap();
        assert_eq!(suite.behaviours[1].when, When::All);
        assert_eq!(suite.behaviours[3].answer, Answer::ZeroVector);
    }

    #[test]
    fn an_answer_may_come_after_the_grace_period() {
        let behaviour = Behaviour { when: When::First(4), answer: Answer::BeyondGrace { ms: 1500 } };
        let wanted = Behaviour { when: When::First(4), answer: Answer::Delay { ms: 11_500, jitter: 0 } };
        assert_eq!(behaviour.for_grace(Duration::from_secs(10)), wanted);
        assert_eq!(wanted.for_grace(Duration::from_secs(10)), wanted);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<Suite>("[[behaviours]]\nanswer.delay = { ms = 1, jiter = 2 }").err().unwrap();
        assert!(error.to_string().contains("jiter"), "{error}");
    }

    #[rstest::rstest]
    #[case("the harbour log", 1)]
    #[case("the harbour revision-2 log", 2)]
    #[case("on-2 the harbour log revision-12 of revision-", 12)]
    #[case("", 1)]
    fn a_part_of_a_text_names_its_revision(#[case] text: &str, #[case] number: usize) {
        assert_eq!(revision_of(text), number);
        let texts = [text.to_owned()];
        assert!(When::Revision(number).applies(1, &texts) && !When::Revision(number + 1).applies(1, &texts));
    }

    #[rstest::rstest]
    #[case(When::First(2), &[1, 2])]
    #[case(When::Every(2), &[2, 4])]
    #[case(When::Nth(3), &[3])]
    #[case(When::Every(0), &[])]
    #[case(When::TextContains("b".to_owned()), &[1, 2, 3, 4])]
    fn a_behaviour_applies_to_the_requests_that_it_selects(#[case] when: When, #[case] wanted: &[u64]) {
        let texts = ["abc".to_owned()];
        let seen: Vec<u64> = (1..=4).filter(|nth| when.applies(*nth, &texts)).collect();
        assert_eq!(seen, wanted);
    }
}
