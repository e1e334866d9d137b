//! One service as a local process: started, probed, disturbed, stopped.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::plan::Plan;
use crate::outcome::{Event, Events, ServiceRecord, ServiceStatus};
use crate::stack::cleanup::ledger::Ledger;
use crate::stack::error::StackError;
use crate::stack::ports::{ReservedPort, is_port_conflict};
use crate::stack::process::Process;
use crate::stack::ready::{ConsecutiveCount, Readiness};
use crate::stack::service::Service;

/// How long a service may take to become ready. On an idle machine it takes a fraction of a second.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an orderly shutdown may take before the service is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often another port is tried after one that another program took.
const PORT_ATTEMPTS: u32 = 5;
/// The pause between two readiness probes.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A service and its process; the process is gone after a kill.
#[derive(Debug)]
pub(in crate::stack) struct NativeService {
    plan: Plan,
    process: Mutex<Option<Process>>,
    ledger: Ledger,
}

impl NativeService {
    /// Starts the plan for the reserved ports and waits until the service is ready.
    pub(super) async fn start(
        ledger: &Ledger,
        events: &Events,
        begun: Instant,
        mut reserved: Vec<ReservedPort>,
        plan: impl Fn(&[u16]) -> Result<Plan, StackError>,
    ) -> Result<(Self, ServiceRecord), StackError> {
        let requested = reserved.iter().any(|port| port.requested);
        let mut attempt = 1;
        loop {
            let ports: Vec<u16> = reserved.drain(..).map(ReservedPort::release).collect();
            let plan = plan(&ports)?;
            let name = plan.service.name();
            let process = Process::start(&plan.launch, ledger)?;
            match until_ready(&plan, &process).await {
                Ok(()) => {
                    let after = begun.elapsed();
                    let service = Self { plan, process: Mutex::new(Some(process)), ledger: ledger.clone() };
                    let record = service.record(after).await;
                    let version = record.version.clone();
                    events.send(Event::ServiceReady { service: name.to_owned(), version, after });
                    return Ok((service, record));
                }
                Err(StackError::Died { log, .. })
                    if !requested && attempt < PORT_ATTEMPTS && is_port_conflict(&log) =>
                {
                    attempt += 1;
                    drop(process);
                    // The log must contain only the next attempt.
                    let _ = fs::remove_file(&plan.launch.log);
                    events.note(format!("{name}: another program took the port; trying another port"));
                    reserved = ports.iter().map(|_| ReservedPort::reserve(name, None)).collect::<Result<_, _>>()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The readiness probe, which holds the URL of the service.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.plan.readiness
    }

    async fn record(&self, after: Duration) -> ServiceRecord {
        // It has just answered three times. If it does not answer now, the record lacks its version.
        let facts = self.plan.readiness.facts().await.unwrap_or_default();
        ServiceRecord {
            name: self.plan.service.name().to_owned(),
            status: ServiceStatus::Ready,
            version: facts.version,
            endpoint: self.plan.readiness.public_address(),
            kind: self.plan.kind.clone(),
            ready_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            parameters: facts.parameters,
        }
    }

    /// Shuts it down in an orderly way, starts it again with the same data and port, and waits until it is ready.
    pub(in crate::stack) async fn restart(&self) -> Result<(), StackError> {
        let mut slot = self.process.lock().await;
        if let Some(process) = slot.take() {
            process.stop(self.plan.stop_signal, STOP_TIMEOUT).await;
        }
        self.run(&mut slot).await
    }

    /// Sends SIGKILL to it and all its descendants. Returns when they are gone.
    pub(in crate::stack) async fn kill(&self) {
        if let Some(process) = self.process.lock().await.take() {
            process.kill();
        }
    }

    /// Starts it again after a kill and waits until it is ready. Does nothing if it runs.
    pub(in crate::stack) async fn start_again(&self) -> Result<(), StackError> {
        let mut slot = self.process.lock().await;
        if slot.as_ref().is_some_and(|process| process.exit_status().is_none()) {
            return Ok(());
        }
        *slot = None;
        self.run(&mut slot).await
    }

    /// Sends SIGSTOP to it and all its descendants: connections stay open, but nothing answers.
    pub(in crate::stack) async fn pause(&self) -> Result<(), StackError> {
        self.signal(Signal::SIGSTOP, "paused").await
    }

    /// Sends SIGCONT and waits until it answers again.
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

    /// Stops it for good. With `orderly` it saves its data first.
    pub(super) async fn stop(&self, orderly: bool) {
        let Some(process) = self.process.lock().await.take() else { return };
        let signal = match self.plan.service {
            _ if orderly => self.plan.stop_signal,
            // After SIGKILL, Postgres would leave its shared memory behind.
            Service::Postgres => Signal::SIGQUIT,
            _ => Signal::SIGKILL,
        };
        process.stop(signal, STOP_TIMEOUT).await;
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
                reason: "it was killed and has not been started again",
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

/// Probes until the service has answered three times in a row. Fails at once if its process exits.
async fn until_ready(plan: &Plan, process: &Process) -> Result<(), StackError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut consecutive = ConsecutiveCount::default();
    loop {
        if let Some(status) = process.exit_status() {
            return Err(process.died(status));
        }
        match plan.readiness.probe().await {
            Ok(start_id) if consecutive.record_answer(&start_id) => return Ok(()),
            Ok(_) => {}
            Err(reason) => {
                consecutive.reset();
                if Instant::now() > deadline {
                    return Err(StackError::NotReady {
                        service: plan.service.name(),
                        seconds: READY_TIMEOUT.as_secs(),
                        reason,
                        log: process.log_tail(),
                    });
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::TcpListener;

    use super::*;
    use crate::stack::native::programs::{self, Overrides};
    use crate::stack::native::redis;

    #[tokio::test]
    async fn a_port_that_another_program_took_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let program = programs::find(&crate::settings::search_path(), programs::TYPICAL, &Overrides::default());
        let program = program.unwrap().redis;
        let ledger = Ledger::open(&directory.path().join("state"), "ports").unwrap();
        let occupant = RefCell::new(None);
        let events = Events::silent();
        let start = |requested| {
            let ports = vec![ReservedPort::reserve("redis", requested).unwrap()];
            NativeService::start(&ledger, &events, Instant::now(), ports, |ports| {
                occupant.borrow_mut().get_or_insert_with(|| TcpListener::bind(("127.0.0.1", ports[0])).unwrap());
                redis::plan(&program, &directory.path().join("redis"), &"password".into(), ports[0])
            })
        };
        let (service, _) = start(None).await.unwrap();
        service.stop(false).await;

        // A port that the user requested is not replaced.
        let port = ReservedPort::reserve("redis", None).unwrap().release();
        *occupant.borrow_mut() = None;
        let error = start(Some(port)).await.unwrap_err();
        assert!(matches!(error, StackError::Died { .. }), "{error}");
    }
}
