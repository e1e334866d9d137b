//! Metrics of the server's requests and process: counts and durations, memory, threads, files.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Number of durations in the average, as in Qdrant.
const RECENT: usize = 128;
/// Upper bounds of the histogram's buckets in microseconds, as in Qdrant.
pub(super) const BUCKETS: [u32; 11] =
    [1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000];

/// Counts and durations of one kind of response.
#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    /// Number of responses.
    pub count: u64,
    /// Sum of all durations.
    pub total: Duration,
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
    /// Responses per bucket of [`BUCKETS`], not cumulative.
    pub buckets: [u64; BUCKETS.len()],
    recent: VecDeque<Duration>,
    last: Option<DateTime<Utc>>,
}

impl Stats {
    fn add(&mut self, duration: Duration) {
        self.min = if self.count == 0 { duration } else { self.min.min(duration) };
        self.max = self.max.max(duration);
        self.count += 1;
        self.total += duration;
        if let Some(bucket) = BUCKETS.iter().position(|end| duration.as_micros() <= u128::from(*end)) {
            self.buckets[bucket] += 1;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(duration);
        self.last = Some(Utc::now().round_subsecs(2));
    }

    /// Average of the latest durations.
    #[must_use]
    pub(super) fn average(&self) -> Duration {
        let count = u32::try_from(self.recent.len()).unwrap_or(u32::MAX).max(1);
        self.recent.iter().sum::<Duration>() / count
    }

    fn shown(&self, level: u32, rough: bool) -> Value {
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let mut shown = json!({
            "count": if rough { roughly(self.count) } else { self.count },
            "avg_duration_micros": micros(self.average()),
        });
        if level > 0 {
            shown["min_duration_micros"] = json!(micros(self.min));
            shown["max_duration_micros"] = json!(micros(self.max));
            shown["total_duration_micros"] = json!(u64::try_from(self.total.as_micros()).unwrap_or(u64::MAX));
            shown["last_responded"] = json!(self.last);
        }
        shown
    }
}

/// Responses by endpoint and status.
pub(super) type Responses = BTreeMap<String, BTreeMap<i32, Stats>>;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// REST: endpoints are method and path, statuses are HTTP's.
    Rest,
    /// gRPC: endpoints are paths, statuses are gRPC codes.
    Grpc,
}

/// Responses since the start.
#[derive(Debug)]
pub(super) struct Telemetry {
    /// Identifies this run of the server.
    pub id: Uuid,
    /// When it started.
    pub startup: DateTime<Utc>,
    rest: Mutex<Responses>,
    grpc: Mutex<Responses>,
    /// REST only, by collection.
    collections: Mutex<BTreeMap<String, Responses>>,
}

impl Telemetry {
    /// Starts counting.
    #[must_use]
    pub(super) fn new() -> Self {
        Self {
            id: Uuid::new_v4(),
            startup: Utc::now().round_subsecs(2),
            rest: Mutex::default(),
            grpc: Mutex::default(),
            collections: Mutex::default(),
        }
    }

    /// Counts a response with `status` to a request that began at `since`, also for `collection` if it exists.
    pub(super) fn add(
        &self,
        protocol: Protocol,
        endpoint: &str,
        status: i32,
        since: Instant,
        collection: Option<&str>,
    ) {
        let duration = since.elapsed();
        let add = |responses: &mut Responses| {
            if let Some(statuses) = responses.get_mut(endpoint) {
                statuses.entry(status).or_default().add(duration);
            } else {
                responses.entry(endpoint.to_owned()).or_default().entry(status).or_default().add(duration);
            }
        };
        add(&mut self.all(protocol).lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(collection) = collection {
            let mut collections = self.collections.lock().unwrap_or_else(PoisonError::into_inner);
            add(collections.entry(collection.to_owned()).or_default());
        }
    }

    fn all(&self, protocol: Protocol) -> &Mutex<Responses> {
        match protocol {
            Protocol::Rest => &self.rest,
            Protocol::Grpc => &self.grpc,
        }
    }

    /// All responses of one protocol.
    #[must_use]
    pub(super) fn responses(&self, protocol: Protocol) -> Responses {
        self.all(protocol).lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All REST responses by collection.
    #[must_use]
    pub(super) fn by_collection(&self) -> BTreeMap<String, Responses> {
        self.collections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The section `requests` of the telemetry.
    #[must_use]
    pub(super) fn shown(&self, level: u32, per_collection: bool, anonymize: bool) -> Value {
        let shown = |responses: &Responses| -> Value {
            let rows = responses.iter().map(|(endpoint, statuses)| {
                let statuses = statuses.iter().map(|(status, it)| (status.to_string(), it.shown(level, anonymize)));
                (endpoint.clone(), Value::Object(statuses.collect()))
            });
            Value::Object(rows.collect::<Map<_, _>>())
        };
        let mut rest = json!({ "responses": shown(&self.responses(Protocol::Rest)) });
        if per_collection && !anonymize {
            let rows = self.by_collection();
            let rows = rows.iter().map(|(collection, responses)| (collection.clone(), shown(responses)));
            rest["per_collection_responses"] = Value::Object(rows.collect());
        }
        json!({ "rest": rest, "grpc": { "responses": shown(&self.responses(Protocol::Grpc)) } })
    }
}

/// A pseudonym, the same for the same `text`.
#[must_use]
pub(super) fn anonymous(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes).to_string()).unwrap_or_default()
}

/// `number` with only its first four digits.
#[must_use]
pub(super) fn roughly(number: u64) -> u64 {
    let unit = 10_u64.pow(number.checked_ilog10().unwrap_or_default().saturating_sub(3));
    number / unit * unit
}

/// The system's figures of this process; unknown ones are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Threads.
    pub threads: Option<u64>,
    /// Bytes in memory.
    pub resident: Option<u64>,
    /// Mapped areas.
    pub maps: Option<u64>,
    /// Maximum of mapped areas.
    pub max_maps: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// Maximum of open files.
    pub max_files: Option<u64>,
    /// Page faults without disk access, of this process and its ended children.
    pub minor_faults: Option<u64>,
    /// Page faults with disk access.
    pub major_faults: Option<u64>,
}

impl Process {
    /// Queries the system. Blocking, as long as it takes to list the mapped areas.
    #[must_use]
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        };
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the program's name in brackets, which may contain spaces.
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let fields: Vec<u64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        let sum = |own: usize, children: usize| Some(fields.get(own)? + fields.get(children)?);
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        Self {
            threads: field("Threads"),
            resident: field("VmRSS").map(|kilobytes| kilobytes * 1024),
            maps: fs::read_to_string("/proc/self/maps").ok().map(|text| text.lines().count() as u64),
            max_maps: fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok()),
            files: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            #[allow(clippy::unnecessary_cast, reason = "not every system counts in 64 bits")]
            max_files: limit.ok().map(|(soft, hard)| soft.min(hard) as u64),
            minor_faults: sum(7, 8),
            major_faults: sum(9, 10),
        }
    }
}

/// Share of the machine's memory that this process uses, in percent.
#[must_use]
pub(super) fn memory_percent(process: &Process) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total: u64 = total.split_whitespace().next()?.parse().ok()?;
    (process.resident? / 1024 * 100).checked_div(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_the_bucket_they_end_in() {
        let mut stats = Stats::default();
        for millis in [1, 2, 60_000] {
            stats.add(Duration::from_millis(millis));
        }
        assert_eq!((stats.buckets[0], stats.buckets[1], stats.buckets.iter().sum::<u64>()), (1, 1, 2));
        assert_eq!((stats.count, stats.min, stats.max), (3, Duration::from_millis(1), Duration::from_secs(60)));
    }

    #[test]
    fn the_average_forgets_old_durations() {
        let mut stats = Stats::default();
        stats.add(Duration::from_secs(60));
        for _ in 0..RECENT {
            stats.add(Duration::from_millis(2));
        }
        assert_eq!(stats.average(), Duration::from_millis(2));
    }

    #[test]
    fn numbers_are_rounded_to_four_digits() {
        assert_eq!([0, 9, 9999, 12_345, 1_234_567].map(roughly), [0, 9, 9999, 12_340, 1_234_000]);
    }
}
