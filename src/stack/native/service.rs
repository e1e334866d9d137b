//! One service as a local process: started, waited for, disturbed, ended.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::Plan;
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::stack::ledger::Ledger;
use crate::stack::ports::{Held, says_port_taken};
use crate::stack::process::Process;
use crate::stack::ready::{ConsecutiveCount, Readiness};
use crate::stack::{Service, StackError, public_address};

/// How long a service may take to become ready. On an idle machine it takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a service may take to end politely before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How often a port taken in the meantime is replaced by another one.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(5);

/// A service and the process that is it, unless that was killed.
#[derive(Debug)]
pub(in crate::stack) struct NativeService {
    plan: Plan,
    process: Mutex<Option<Process>>,
    ledger: Ledger,
}

impl NativeService {
    /// Starts what `plan` says for the given ports and waits until it is ready.
    pub(super) async fn start(
        ledger: &Ledger,
        events: &Events,
        begun: Instant,
        mut held: Vec<Held>,
        plan: impl Fn(&[u16]) -> Result<Plan, StackError>,
    ) -> Result<(Self, ServiceRecord), StackError> {
        let wanted = held.iter().any(|held| held.wanted);
        let mut attempt = 1;
        loop {
            let ports: Vec<u16> = held.drain(..).map(Held::release).collect();
            let plan = plan(&ports)?;
            let name = plan.service.name();
            let process = Process::start(&plan.launch, ledger)?;
            match until_ready(&plan, &process).await {
                Ok(()) => {
                    let after = begun.elapsed();
                    let service = Self { plan, process: Mutex::new(Some(process)), ledger: ledger.clone() };
                    let record = service.record(after).await;
                    let version = record.version.clone();
                    events.say(Event::ServiceReady { service: name.to_owned(), version, after });
                    return Ok((service, record));
                }
                Err(StackError::Died { log, .. }) if !wanted && attempt < ATTEMPTS && says_port_taken(&log) => {
                    attempt += 1;
                    drop(process);
                    // The next attempt's log must tell of that attempt alone.
                    let _ = fs::remove_file(&plan.launch.log);
                    events.note(format!("{name}: a port was taken in the meantime; trying another"));
                    held = ports.iter().map(|_| Held::hold(name, None)).collect::<Result<_, _>>()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How readiness is asked for; holds the service's URL.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.plan.readiness
    }

    async fn record(&self, after: Duration) -> ServiceRecord {
        // It has just answered three times: should it not answer now, the record lacks its version.
        let facts = self.plan.readiness.facts().await.unwrap_or_default();
        ServiceRecord {
            name: self.plan.service.name().to_owned(),
            status: ServiceStatus::Ready,
            version: facts.version,
            endpoint: public_address(&self.plan.readiness),
            kind: self.plan.kind.clone(),
            ready_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            parameters: facts.parameters,
        }
    }

    /// Ends it politely, starts it again over the same data and port, waits until it is ready.
    pub(in crate::stack) async fn restart(&self) -> Result<(), StackError> {
        let mut slot = self.process.lock().await;
        if let Some(process) = slot.take() {
            process.stop(self.plan.polite, GRACE).await;
        }
        self.run(&mut slot).await
    }

    /// SIGKILL, to it and all its descendants; returns when they are gone.
    pub(in crate::stack) async fn kill(&self) {
        if let Some(process) = self.process.lock().await.take() {
            process.kill();
        }
    }

    /// Starts it again after a kill; waits until it is ready. Nothing happens when it runs.
    pub(in crate::stack) async fn start_again(&self) -> Result<(), StackError> {
        let mut slot = self.process.lock().await;
        if slot.as_ref().is_some_and(|process| process.exit_status().is_none()) {
            return Ok(());
        }
        *slot = None;
        self.run(&mut slot).await
    }

    /// SIGSTOP, to it and all its descendants: connections stay open and nothing answers.
    pub(in crate::stack) async fn pause(&self) -> Result<(), StackError> {
        self.signal(Signal::SIGSTOP, "paused").await
    }

    /// SIGCONT; waits until it answers again.
    pub(in crate::stack) async fn resume(&self) -> Result<(), StackError> {
        self.signal(Signal::SIGCONT, "resumed").await?;
        let slot = self.process.lock().await;
        match slot.as_ref() {
            Some(process) => until_ready(&self.plan, process).await,
            None => Ok(()),
        }
    }

    /// The pid of its main process, unless it was killed.
    pub(in crate::stack) async fn pid(&self) -> Option<i32> {
        self.process.lock().await.as_ref().map(|process| process.id().pid)
    }

    /// Ends it for good; `orderly` puts its data in order first.
    pub(super) async fn end(&self, orderly: bool) {
        let Some(process) = self.process.lock().await.take() else { return };
        let signal = match self.plan.service {
            _ if orderly => self.plan.polite,
            // Killed outright, Postgres would leave its shared memory behind.
            Service::Postgres => Signal::SIGQUIT,
            _ => Signal::SIGKILL,
        };
        process.stop(signal, GRACE).await;
    }

    async fn signal(&self, signal: Signal, action: &'static str) -> Result<(), StackError> {
        match self.process.lock().await.as_ref() {
            Some(process) => {
                process.signal_tree(signal);
                Ok(())
            }
            None => Err(StackError::Unsupported {
                service: self.plan.service,
                action,
                reason: "it was killed and not started again",
            }),
        }
    }

    async fn run(&self, slot: &mut Option<Process>) -> Result<(), StackError> {
        let process = Process::start(&self.plan.launch, &self.ledger)?;
        until_ready(&self.plan, &process).await?;
        *slot = Some(process);
        Ok(())
    }
}

/// Asks until the service has answered three times in a row; fails at once when its process ends.
async fn until_ready(plan: &Plan, process: &Process) -> Result<(), StackError> {
    let deadline = Instant::now() + PATIENCE;
    let mut consecutive = ConsecutiveCount::default();
    loop {
        if let Some(status) = process.exit_status() {
            return Err(process.died(status));
        }
        match plan.readiness.ask().await {
            Ok(incarnation) if consecutive.answered(&incarnation) => return Ok(()),
            Ok(_) => {}
            Err(reason) => {
                consecutive.broken();
                if Instant::now() > deadline {
                    return Err(StackError::NotReady {
                        service: plan.service.name(),
                        seconds: PATIENCE.as_secs(),
                        reason,
                        log: process.log_tail(),
                    });
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::TcpListener;

    use super::*;
    use crate::stack::native::{Overrides, programs, redis};

    #[tokio::test]
    async fn a_port_taken_in_the_meantime_is_replaced_by_another() {
        let place = tempfile::tempdir().unwrap();
        let program = programs::find(&crate::settings::search_path(), programs::TYPICAL, &Overrides::default());
        let program = program.unwrap().redis;
        let ledger = Ledger::open(&place.path().join("state"), "ports").unwrap();
        let thief = RefCell::new(None);
        let events = Events::silent();
        let start = |wanted| {
            let held = vec![Held::hold("redis", wanted).unwrap()];
            NativeService::start(&ledger, &events, Instant::now(), held, |ports| {
                thief.borrow_mut().get_or_insert_with(|| TcpListener::bind(("127.0.0.1", ports[0])).unwrap());
                redis::plan(&program, &place.path().join("redis"), &"password".into(), ports[0])
            })
        };
        let (service, _) = start(None).await.unwrap();
        service.end(false).await;

        // One that the user asked for is not exchanged.
        let port = Held::hold("redis", None).unwrap().release();
        *thief.borrow_mut() = None;
        let error = start(Some(port)).await.unwrap_err();
        assert!(matches!(error, StackError::Died { .. }), "{error}");
    }
}
