//! What Redis shows of the workers of a queue: where they are registered, and how long their locks last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ServiceError;
pub use super::client_list::Registration;
use super::client_list::clients;
use super::queue::QueueClient;

/// Keys per `SCAN`, and the most scans: a server of the user may hold millions of keys.
const SCANNED: usize = 1000;
const MAX_SCANS: usize = 100;
/// Keys that a queue has once a worker or a producer has used it.
const QUEUE_KEYS: [&str; 2] = ["stalled-check", "meta"];

/// How long the worker of a job may go without a sign of life before another worker takes the job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockTimes {
    /// The longest remaining time of a job's lock that was seen: about the duration of a lock.
    pub lock: Option<Duration>,
    /// The longest remaining time until the next check for stalled jobs that was seen: about the interval of the checks.
    pub stalled_check: Option<Duration>,
}

impl LockTimes {
    /// The longer of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { lock: self.lock.max(other.lock), stalled_check: self.stalled_check.max(other.stalled_check) }
    }

    /// The longest time until the job of a killed worker is taken again: its lock expires, one check notes the job, and
    /// the next one moves it back. If no check was seen, the interval of the checks is taken to be as long as the lock, as
    /// by BullMQ's defaults. Unknown without a lock.
    #[must_use]
    pub fn recovery(self) -> Option<Duration> {
        self.lock.map(|lock| lock + 2 * self.stalled_check.unwrap_or(lock))
    }
}

impl QueueClient {
    /// The connections to the server at the moment: their numbers, and the queue on which each is registered.
    pub async fn registrations(&self) -> Result<Vec<(u64, Option<Registration>)>, ServiceError> {
        let list: String = self.redis().get(&redis::cmd("CLIENT").arg("LIST").to_owned()).await?;
        Ok(clients(&list).map(|client| (client.id, client.registration())).collect())
    }

    /// The remaining times of the locks of these jobs, and of the pause between two checks for stalled jobs.
    pub async fn lock_times(&self, jobs: impl IntoIterator<Item = &str>) -> Result<LockTimes, ServiceError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("PTTL").arg(self.keys().stalled_check());
        for job in jobs {
            pipeline.cmd("PTTL").arg(format!("{}:lock", self.keys().job_key(job)));
        }
        let times: Vec<i64> = self.redis().pipeline(&pipeline).await?;
        // A key that does not exist or does not expire has a negative time.
        let mut times = times.into_iter().map(|ms| u64::try_from(ms).ok().map(Duration::from_millis));
        Ok(LockTimes { stalled_check: times.next().flatten(), lock: times.max().flatten() })
    }

    /// The queues that exist on the server, found by their keys.
    pub async fn all_queues(&self) -> Result<BTreeSet<Registration>, ServiceError> {
        let mut queues = BTreeSet::new();
        for key in QUEUE_KEYS {
            let (mut cursor, ending) = (0_u64, format!(":{key}"));
            for _ in 0..MAX_SCANS {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(format!("*{ending}")).arg("COUNT").arg(SCANNED);
                let (next, keys): (u64, Vec<String>) = self.redis().get(&scan).await?;
                let named = keys.iter().filter_map(|key| key.strip_suffix(&ending)?.rsplit_once(':'));
                queues.extend(named.map(|(prefix, queue)| Registration { queue: queue.into(), prefix: prefix.into() }));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(queues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_killed_worker_is_taken_after_its_lock_and_two_checks() {
        let times = |lock: u64, check: u64| LockTimes {
            lock: Some(Duration::from_secs(lock)),
            stalled_check: Some(Duration::from_secs(check)),
        };
        let seen = times(29, 5).max(times(3, 30)).max(LockTimes::default());
        assert_eq!(seen, times(29, 30));
        assert_eq!(seen.recovery(), Some(Duration::from_secs(89)));
        let lock_alone = LockTimes { stalled_check: None, ..times(30, 0) };
        assert_eq!((lock_alone.recovery(), LockTimes::default().recovery()), (Some(Duration::from_secs(90)), None));
    }
}
