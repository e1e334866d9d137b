//! Premises about faults: what the pipeline was doing when a fault began or while it lasted.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::scheduler::FaultRecord;
use super::history::Span;
use super::moment::Moment;
use super::requests::is_accepted;
use super::run::Run;
use super::seen::{Seen, counted, ms};
use crate::settings::Idle;
use crate::spec::{Target, Work, WorkerFault};

/// What a worker's event says when it is ready.
const TAKES_JOBS: &str = "takes jobs";

impl<'a> Run<'a> {
    pub(super) fn fault_met(&self, work: Work) -> Seen {
        let moment = |fault: &'a FaultRecord| {
            let ended = fault.ended.map_or(i64::MAX, ms);
            Some(Moment { what: fault.what.clone(), during: (ms(fault.began?), ended), stored: fault.stored.as_ref() })
        };
        let faults = self.observations.faults.iter().filter(|fault| fault.worker.is_none());
        let moments: Vec<Moment<'_>> = faults.filter_map(moment).collect();
        self.any_with(work, &moments, "no fault of a service began")
    }

    pub(super) fn killed_with(&self, work: Work) -> Seen {
        self.any_with(work, &self.moments(&[WorkerFault::Kill]), "no worker was killed")
    }

    pub(super) fn terminated_with(&self, work: Work) -> Seen {
        let moments = self.moments(&[WorkerFault::Terminate, WorkerFault::TerminateTwice]);
        if moments.is_empty() && work == Work::NoActiveJob && self.observations.contract.idle == Idle::Exits {
            return Seen::impossible("the worker exits when no jobs wait");
        }
        self.any_with(work, &moments, "no worker got SIGTERM")
    }

    pub(super) fn paused_with(&self, work: Work) -> Seen {
        self.any_with(work, &self.moments(&[WorkerFault::Pause, WorkerFault::PauseBeyondLocks]), "no worker was paused")
    }

    pub(super) fn joined_with(&self, work: Work) -> Seen {
        let mut moments = self.moments(&[WorkerFault::Join]);
        for moment in &mut moments {
            // A worker takes a while until it takes jobs.
            let mut events = self.observations.workers.events.iter();
            let ready = events.find(|event| event.what == TAKES_JOBS && event.at_ms >= moment.during.0);
            let at = ready.map_or(i64::MAX - 1, |event| event.at_ms);
            moment.during = (at, at);
        }
        self.any_with(work, &moments, "no worker joined")
    }

    pub(super) fn lock_expired(&self) -> Seen {
        let Some(began) = self.observations.faults.iter().filter_map(|fault| fault.began).map(ms).min() else {
            return Seen::new(false, "no fault began");
        };
        let stalled: BTreeSet<&str> =
            self.jobs.stalled.iter().filter(|(at, _)| *at >= began).map(|(_, job)| *job).collect();
        let lock = self.observations.queue.lock_ms.map_or(String::new(), |lock| format!("; a lock lasts {lock} ms"));
        let what = format!("{} stalled after a fault began{lock}", counted(stalled.len(), "job"));
        let lasted = |fault: &FaultRecord| Some(fault.ended?.saturating_sub(fault.began?));
        let longest = self.observations.faults.iter().filter_map(lasted).max().map_or(0, ms);
        let recovery = self.observations.queue.recovery_ms.and_then(|recovery| i64::try_from(recovery).ok());
        match recovery.filter(|recovery| stalled.is_empty() && *recovery > longest) {
            Some(recovery) => Seen::impossible(format!(
                "{what}; another worker takes a job after {recovery} ms at most, and no fault lasts so long"
            )),
            None => Seen::at_least(1, stalled.len(), what),
        }
    }

    pub(super) fn calls_in_fault(&self, least: u64) -> Seen {
        let faults = self.observations.faults.iter();
        let broken = faults.flat_map(|fault| fault.targets.iter().map(move |target| (*target, fault)));
        let calls = broken.filter_map(|(target, fault)| Some((target, self.calls(target, fault.began?, fault.ended?))));
        match calls.max_by_key(|(_, calls)| *calls) {
            Some((target, calls)) => {
                let what = format!("{} was called {} while the fault lasted", target.word(), counted(calls, "time"));
                Seen::at_least(least, calls, what)
            }
            None => Seen::new(false, "no fault of a service began and ended"),
        }
    }

    /// The calls of a service from `began` to `ended`: connections, requests that a proxy answered, and requests that the mock
    /// received.
    fn calls(&self, target: Target, began: Duration, ended: Duration) -> usize {
        let network = &self.observations.network;
        let opened = network.connections.get(&target).into_iter().flatten().map(|connection| connection.opened);
        let answered = network.answered.get(&target).into_iter().flatten().map(|answered| answered.at);
        let lasts = began..=ended;
        let requests = if target == Target::Jina { self.requests_in((ms(began), ms(ended))) } else { 0 };
        opened.chain(answered).filter(|at| lasts.contains(at)).count() + requests
    }

    /// The moments at which such faults of a worker began.
    fn moments(&self, kinds: &[WorkerFault]) -> Vec<Moment<'a>> {
        let moment = |fault: &'a FaultRecord| {
            let at = ms(fault.began?);
            Some(Moment { what: fault.what.clone(), during: (at, at), stored: fault.stored.as_ref() })
        };
        let faults = self.observations.faults.iter();
        faults.filter(|fault| fault.worker.is_some_and(|kind| kinds.contains(&kind))).filter_map(moment).collect()
    }

    /// Met if the pipeline is in the state at one of the moments.
    fn any_with(&self, work: Work, moments: &[Moment<'_>], none: &str) -> Seen {
        let seen = moments.iter().map(|moment| {
            let Seen { is_met, is_impossible, what } = self.state(work, moment);
            Seen { is_met, is_impossible, what: format!("{} at {} ms: {what}", moment.what, moment.during.0) }
        });
        let (met, unmet): (Vec<Seen>, Vec<Seen>) = seen.partition(|seen| seen.is_met);
        let is_met = !met.is_empty();
        let is_impossible = !is_met && !unmet.is_empty() && unmet.iter().all(|seen| seen.is_impossible);
        let told: Vec<String> = if is_met { met } else { unmet }.into_iter().map(|seen| seen.what).collect();
        if told.is_empty() {
            return Seen::new(false, none);
        }
        Seen { is_met, is_impossible, what: told.join("; ") }
    }

    fn state(&self, work: Work, moment: &Moment<'_>) -> Seen {
        let during = moment.during;
        match work {
            Work::ActiveJob => self.open_job(during),
            Work::NoActiveJob => {
                let active = self.active_in(during);
                Seen::new(active == 0, format!("{} active", jobs(active)))
            }
            Work::WaitingJob => {
                let waiting = self.jobs.waiting_in(during).len();
                Seen::at_least(1, waiting, format!("{} waiting", jobs(waiting)))
            }
            Work::OpenRequest => {
                let open = self.requests_in(during);
                Seen::at_least(1, open, format!("{} open", requests(open)))
            }
            Work::OpenBeyondGrace => {
                let exits = self.observations.workers.exits.iter().map(|exit| exit.grace);
                let grace = ms(exits.max().unwrap_or(self.observations.workers.grace));
                let open = self.spans().filter(|(at, until)| *at <= during.0 && *until > during.0 + grace).count();
                Seen::at_least(1, open, format!("{} open beyond the grace period of {grace} ms", requests(open)))
            }
            Work::PendingRetry => {
                let pending = self.pending_retries(during.0);
                Seen::at_least(1, pending, format!("{} refused and not sent again yet", texts(pending)))
            }
            Work::PartOfPoints => self.part_of_points(moment),
            Work::PointsWithoutRow | Work::RowBeforeEnd if self.observations.contract.evidence.postgres.is_none() => {
                Seen::new(false, "the contract names no rows")
            }
            Work::PointsWithoutRow => self.stored(moment, |document| document.is_complete() && !document.is_done),
            Work::RowBeforeEnd => self.stored(moment, |document| document.is_done && document.is_active),
        }
    }

    /// How many jobs are active at some time in `during`, in all queues.
    fn active_in(&self, during: Span) -> usize {
        let queues = std::iter::once(&self.jobs).chain(&self.others);
        queues.map(|jobs| jobs.active_in(during).len()).sum()
    }

    /// Whether a worker has begun a job that has not ended: a job is active, or goes on later.
    fn open_job(&self, during: Span) -> Seen {
        let active = self.active_in(during);
        let queues = std::iter::once(&self.jobs).chain(&self.others);
        let suspended: usize = queues.map(|jobs| jobs.suspended_in(during).len()).sum();
        let mut what = format!("{} active", jobs(active));
        if suspended > 0 {
            what += &format!(", and {} waiting for the next attempt or for children", jobs(suspended));
        }
        Seen::at_least(1, active + suspended, what)
    }

    /// When each request to the embeddings API arrived and was answered.
    fn spans(&self) -> impl Iterator<Item = Span> {
        let embeddings = &self.observations.embeddings;
        let offset = ms(embeddings.mock_offset);
        embeddings.requests.iter().map(move |request| {
            let at = i64::try_from(request.at_ms).unwrap_or(i64::MAX) - offset;
            // A request without an answer stays open.
            let took = if request.status == 0 { i64::MAX / 2 } else { i64::try_from(request.took_ms).unwrap_or(0) };
            (at, at.saturating_add(took))
        })
    }

    /// The number of requests that are open at some time in `during`.
    fn requests_in(&self, (from, until): Span) -> usize {
        self.spans().filter(|(at, answered)| *at <= until && *answered >= from).count()
    }

    /// The number of texts that were refused before `now`, may be accepted later, and were not sent again by then.
    fn pending_retries(&self, now: i64) -> usize {
        let mut pending: BTreeSet<&str> = BTreeSet::new();
        for (request, (at, answered)) in self.observations.embeddings.requests.iter().zip(self.spans()) {
            if at > now {
                break;
            }
            let is_passing = matches!(request.status, 408 | 429 | 500..);
            for text in request.texts.iter() {
                if !is_accepted(request) && is_passing && answered <= now {
                    pending.insert(text);
                } else {
                    pending.remove(text.as_str());
                }
            }
        }
        pending.len()
    }
}

/// `1 job was`, `3 jobs were`.
fn jobs(number: usize) -> String {
    was(number, "job")
}

/// `1 request was`, `3 requests were`.
fn requests(number: usize) -> String {
    was(number, "request")
}

/// `1 text was`, `3 texts were`.
fn texts(number: usize) -> String {
    was(number, "text")
}

fn was(number: usize, noun: &str) -> String {
    format!("{} {}", counted(number, noun), if number == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::super::super::observations::{Observations, OtherQueue};
    use super::super::super::scheduler::WorkerEvent;
    use super::super::super::testing::{
        TestRun, connection, exit, fault, missed_fault, request, starved, worker_fault,
    };
    use super::super::testing::premise;
    use super::*;
    use crate::stack::jina::JinaRequest;

    /// The job of `a.md` is active from 100 ms to 900 ms, that of `b.md` waits until 500 ms and is then active.
    fn run() -> TestRun {
        TestRun::two_documents().with_events(&[
            (0, "a.md", "added"),
            (0, "b.md", "added"),
            (100, "a.md", "active"),
            (500, "b.md", "active"),
            (900, "a.md", "completed"),
            (900, "b.md", "completed"),
        ])
    }

    /// The run with a fault of the worker.
    fn and(kind: WorkerFault, at: u64) -> TestRun {
        stored(kind, at, &[], &[])
    }

    fn stored(kind: WorkerFault, at: u64, points: &[(&str, usize)], done: &[&str]) -> TestRun {
        run().edit(|seen| seen.faults = vec![worker_fault(kind, at, points, done)])
    }

    /// The run with requests: when each arrived, how long its answer took, and its status. All are for the same text.
    fn requested(run: &TestRun, requests: &[(u64, u64, u16)]) -> TestRun {
        let one = |(at, took_ms, status): &(u64, u64, u16)| JinaRequest {
            took_ms: *took_ms,
            status: *status,
            disturbed: *status != 200,
            ..request(*at, &["a text"])
        };
        run.edit(|seen| seen.embeddings.requests = requests.iter().map(one).collect())
    }

    #[test]
    fn a_fault_of_a_service_meets_an_active_job() {
        let broken = |began, ended| run().edit(|seen| seen.faults = vec![fault(Target::Redis, began, ended)]);
        premise("{ fault_met = \"active_job\" }")
            .met_by(&broken(50, 150), "cut of redis at 50 ms: 1 job was active")
            .unmet_by(&broken(1000, 1500), "cut of redis at 1000 ms: 0 jobs were active")
            .unmet_by(&and(WorkerFault::Kill, 600), "no fault of a service began");
        premise("{ fault_met = \"no_active_job\" }")
            .met_by(&broken(1000, 1500), "cut of redis at 1000 ms: 0 jobs were active")
            .unmet_by(&broken(50, 600), "cut of redis at 50 ms: 2 jobs were active");
    }

    #[test]
    fn a_worker_is_killed_while_it_works() {
        premise("{ killed_with = \"active_job\" }")
            .met_by(&and(WorkerFault::Kill, 600), "kill of the worker at 600 ms: 2 jobs were active")
            .unmet_by(&and(WorkerFault::Kill, 950), "kill of the worker at 950 ms: 0 jobs were active")
            .unmet_by(&and(WorkerFault::Terminate, 600), "no worker was killed");
    }

    #[test]
    fn a_job_that_goes_on_later_or_has_an_active_child_is_open() {
        let children = |seen: &mut Observations| {
            let events = std::mem::take(&mut seen.queue.events);
            seen.queue.others.insert("chunks".to_owned(), OtherQueue { events, ..OtherQueue::default() });
        };
        let killed = and(WorkerFault::Kill, 600);
        let waits =
            |what: &str| killed.with_events(&[(0, "a.md", "added"), (10, "a.md", "active"), (20, "a.md", what)]);
        let suspended = "0 jobs were active, and 1 job was waiting for the next attempt or for children";
        premise("{ killed_with = \"active_job\" }")
            .met_by(&waits("delayed"), &format!("kill of the worker at 600 ms: {suspended}"))
            .unmet_by(&waits("failed"), "kill of the worker at 600 ms: 0 jobs were active")
            .met_by(&waits("waiting-children"), &format!("kill of the worker at 600 ms: {suspended}"))
            .met_by(&killed.edit(children), "kill of the worker at 600 ms: 2 jobs were active");
    }

    #[test]
    fn a_worker_that_exits_when_it_is_idle_gets_no_signal_then() {
        let idle = and(WorkerFault::Terminate, 950);
        let gone = run().edit(|seen| seen.contract.idle = Idle::Exits);
        premise("{ terminated_with = \"no_active_job\" }")
            .met_by(&idle, "terminate of the worker at 950 ms: 0 jobs were active")
            .unmet_by(&run(), "no worker got SIGTERM")
            .impossible_by(&gone, "the worker exits when no jobs wait");
    }

    #[test]
    fn a_worker_is_terminated_while_jobs_wait() {
        premise("{ terminated_with = \"waiting_job\" }")
            .met_by(
                &and(WorkerFault::TerminateTwice, 200),
                "terminate_twice of the worker at 200 ms: 1 job was waiting",
            )
            .unmet_by(&and(WorkerFault::Terminate, 600), "terminate of the worker at 600 ms: 0 jobs were waiting");
    }

    #[test]
    fn a_worker_is_paused_while_it_works() {
        premise("{ paused_with = \"active_job\" }")
            .met_by(&and(WorkerFault::Pause, 200), "pause of the worker at 200 ms: 1 job was active")
            .unmet_by(&and(WorkerFault::Pause, 50), "pause of the worker at 50 ms: 0 jobs were active");
    }

    #[test]
    fn a_worker_joins_while_jobs_wait() {
        let ready_at = |at_ms| {
            and(WorkerFault::Join, 10).edit(|seen| {
                seen.workers.events = vec![WorkerEvent { at_ms, worker: 2, what: TAKES_JOBS.to_owned() }];
            })
        };
        premise("{ joined_with = \"waiting_job\" }")
            .met_by(&ready_at(300), "join of the worker at 300 ms: 1 job was waiting")
            .unmet_by(&ready_at(700), "join of the worker at 700 ms: 0 jobs were waiting");
    }

    #[test]
    fn a_request_is_open_from_its_arrival_to_its_answer() {
        let killed = and(WorkerFault::Kill, 600);
        premise("{ killed_with = \"open_request\" }")
            .met_by(&requested(&killed, &[(550, 100, 200)]), "kill of the worker at 600 ms: 1 request was open")
            .unmet_by(&requested(&killed, &[(550, 10, 200)]), "kill of the worker at 600 ms: 0 requests were open")
            .met_by(&requested(&killed, &[(100, 0, 0)]), "kill of the worker at 600 ms: 1 request was open");
        let terminated = and(WorkerFault::Terminate, 600).edit(|seen| seen.workers.exits = vec![exit()]);
        let what =
            |open: &str| format!("terminate of the worker at 600 ms: {open} open beyond the grace period of 10000 ms");
        premise("{ terminated_with = \"open_beyond_grace\" }")
            .met_by(&requested(&terminated, &[(550, 12_000, 200)]), &what("1 request was"))
            .unmet_by(&requested(&terminated, &[(550, 9000, 200)]), &what("0 requests were"));
    }

    #[test]
    fn a_retry_is_pending_until_the_text_is_sent_again() {
        let killed = and(WorkerFault::Kill, 600);
        let what = |pending: &str| format!("kill of the worker at 600 ms: {pending} refused and not sent again yet");
        premise("{ killed_with = \"pending_retry\" }")
            .met_by(&requested(&killed, &[(500, 10, 503), (700, 0, 200)]), &what("1 text was"))
            .unmet_by(&requested(&killed, &[(500, 10, 503), (590, 100, 200)]), &what("0 texts were"))
            .unmet_by(&requested(&killed, &[(500, 10, 400)]), &what("0 texts were"));
    }

    #[test]
    fn a_worker_is_killed_between_two_writes() {
        let nothing = |points: &str, rows: &str| {
            format!(
                "kill of the worker at 600 ms: {points} and {rows} of stored documents were there, and no document was in \
                 that state"
            )
        };
        let at = |points: &[(&str, usize)], done: &[&str]| stored(WorkerFault::Kill, 600, points, done);
        let whole = TestRun::ingested(&[("long.md", &["chunk"; 20])])
            .edit(|seen| seen.faults = vec![worker_fault(WorkerFault::Kill, 600, &[("long.md", 20)], &[])]);
        premise("{ killed_with = \"part_of_points\" }")
            .met_by(&at(&[("a.md", 1)], &[]), "kill of the worker at 600 ms: 1 of 2 points of a.md were stored")
            .unmet_by(&at(&[("a.md", 2)], &[]), &nothing("2 points", "0 rows"))
            .impossible_by(&whole, "kill of the worker at 600 ms: the 20 points of long.md appeared at once")
            .unmet_by(&whole.edit(|seen| seen.timing.pressure = starved()), &nothing("20 points", "0 rows"));
        let baseline = run().then(|step| {
            step.remove("a.md");
            step.snapshot.points.clear();
        });
        let removed = at(&[("a.md", 1)], &[]).edit_step(|step| step.remove("a.md")).compared_with(&baseline);
        premise("{ killed_with = \"part_of_points\" }")
            .met_by(&removed, "kill of the worker at 600 ms: 1 of 2 points of a.md were stored")
            .unmet_by(&removed.compared_with(&run().edit(|seen| seen.steps.clear())), &nothing("1 point", "0 rows"));
        premise("{ killed_with = \"points_without_row\" }")
            .met_by(&at(&[("a.md", 2)], &[]), "kill of the worker at 600 ms: 2 of 2 points of a.md were stored")
            .unmet_by(&at(&[("a.md", 2)], &["a.md"]), &nothing("2 points", "1 row"))
            .unmet_by(
                &at(&[("a.md", 2)], &[]).edit(|seen| seen.contract.evidence.postgres = None),
                "kill of the worker at 600 ms: the contract names no rows",
            );
        premise("{ killed_with = \"row_before_end\" }")
            .met_by(&at(&[("a.md", 2)], &["a.md"]), "kill of the worker at 600 ms: 2 of 2 points of a.md were stored")
            .unmet_by(&stored(WorkerFault::Kill, 950, &[("a.md", 2)], &["a.md"]).edit(|_| {}), &{
                nothing("2 points", "1 row").replace("600", "950")
            });
    }

    #[test]
    fn a_lock_expires_after_a_fault_began() {
        let stalled = |at| {
            run().with_events(&[(100, "a.md", "active"), (at, "a.md", "stalled")]).edit(|seen| {
                seen.faults = vec![worker_fault(WorkerFault::Pause, 200, &[], &[])];
                seen.queue.lock_ms = Some(1000);
            })
        };
        premise("\"lock_expired\"")
            .met_by(&stalled(1300), "1 job stalled after a fault began; a lock lasts 1000 ms")
            .unmet_by(&stalled(150), "0 jobs stalled after a fault began; a lock lasts 1000 ms")
            .unmet_by(&run(), "no fault began");
        let slow = run().edit(|seen| {
            seen.faults = vec![fault(Target::Redis, 200, 1200)];
            (seen.queue.lock_ms, seen.queue.recovery_ms) = (Some(500), Some(1500));
        });
        premise("\"lock_expired\"")
            .met_by(&stalled(1300), "1 job stalled after a fault began; a lock lasts 1000 ms")
            .unmet_by(
                &slow.edit(|seen| seen.queue.recovery_ms = Some(900)),
                "0 jobs stalled after a fault began; a lock lasts 500 ms",
            )
            .impossible_by(
                &slow,
                "0 jobs stalled after a fault began; a lock lasts 500 ms; another worker takes a job after 1500 ms at most, \
                 and no fault lasts so long",
            );
    }

    #[test]
    fn a_broken_service_is_called_again() {
        let opened = |times: &[u64]| {
            run().edit(|seen| {
                seen.faults = vec![missed_fault(Target::Redis)];
                let connections = times.iter().map(|opened| connection(*opened, Some(opened + 10)));
                seen.network.connections.insert(Target::Redis, connections.collect());
            })
        };
        premise("{ calls_in_fault = 2 }")
            .met_by(&opened(&[500, 1100, 1900]), "redis was called 2 times while the fault lasted")
            .unmet_by(&opened(&[500, 1100, 2100]), "redis was called 1 time while the fault lasted")
            .unmet_by(&run(), "no fault of a service began and ended");
    }
}
