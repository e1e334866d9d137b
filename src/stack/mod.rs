//! Where the services come from: a provider starts or finds them and defines what may be done to them.
//!
//! [`Stack::start`] gives [`Endpoints`](crate::settings::Endpoints), records of the services, and the
//! [`Capabilities`] of the provider. Everything that it creates is in the [`Ledger`] before it is created.

mod addresses;
mod capabilities;
mod cleanup;
mod compose;
mod containers;
mod cpu_times;
mod data_dir;
mod error;
pub(crate) mod fresh;
mod handle;
pub mod jina;
mod names;
mod native;
mod options;
mod orphans;
mod ports;
pub mod postgrest;
mod process;
mod process_id;
mod provider;
mod random;
mod ready;
mod redis_config;
mod remote;
mod scratch_dir;
mod service;
mod shape;

pub use capabilities::{Capabilities, Capability};
pub use cleanup::clean::{Cleaned, Found, clean};
pub use cleanup::clean_remote::clean_remote_data;
pub use cleanup::ledger::{Entry, Ledger, clean_up_now, exit_cleanup, replay_on_panic};
pub use cleanup::remote_data::RemoteData;
pub use cleanup::resource::Resource;
pub use compose::check::{CheckError as ComposeCheckError, Finding as ComposeFinding, check as check_compose};
pub use compose::files::{ComposeError, files as compose_files, write as write_compose};
pub use compose::rules::RULES as COMPOSE_RULES;
pub use containers::clean::{CleanedContainers, clean_containers, engine_answers};
pub use containers::images::{Images, POSTGRES_IMAGE, QDRANT_IMAGE, REDIS_IMAGE};
pub use containers::labels::container_labels;
pub use cpu_times::{CpuTimes, cpu_pressure, cpu_times};
pub use data_dir::usual_data_dir;
pub use error::{Package, StackError};
pub use handle::Stack;
pub(crate) use names::quote_identifier;
pub use names::{are_ours, drop_names, names_for};
pub use native::programs::Overrides;
pub use options::{CONTAINER_MEMORY_MB, ProviderKind, StackOptions};
pub use orphans::{adopt_orphans, end_descendants};
pub use ports::Ports;
pub use process::{Account, Launch, Process, exit_code, in_words, kill_with_harness, tail};
pub use process_id::{MARK, ProcessId, marked, working_in};
pub use remote::ask_services;
pub use scratch_dir::ScratchDir;
pub use service::Service;
