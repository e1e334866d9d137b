//! Reads `[queue]`.

use std::ops::Range;

use toml::{Spanned, Value};

use super::super::reader::Reader;
use super::written::{WrittenBefore, WrittenJob, WrittenQueue};
use crate::settings::contract::{Data, DocumentContract, JOB_OPTIONS, JobContract, Order, QueueContract};
use crate::settings::template::{DOCUMENT_PLACES, SEQUENCE, TABLE_PLACES, Template};

impl Reader<'_> {
    pub(super) fn queue(&mut self, queue: WrittenQueue) -> QueueContract {
        let has_own_jobs = queue.job.is_some();
        let default = QueueContract::default();
        let written = queue.document;
        let mut contract = QueueContract {
            name: queue.name,
            prefix: queue.prefix,
            job: queue.job.map_or(default.job, |job| self.job(job)),
            reingest: queue.reingest.map(|job| self.job(job)),
            // A worker with its own jobs does not take the reference worker's deletion job.
            delete: queue.delete.map(|job| self.job(job)).or(default.delete.filter(|_| !has_own_jobs)),
            document: DocumentContract::default(),
            before: queue.before.and_then(|before| self.before(&before)),
            children: queue.children.into_iter().map(|name| self.queue_name(name)).collect(),
        };
        if let Some(document) = written {
            contract.document.id = document.id;
            contract.document.order = document.order.map(|order| self.order(&order, &contract));
        }
        contract
    }

    /// How the worker knows the order of jobs, where the jobs or the rows say it.
    fn order(&mut self, order: &Spanned<Order>, contract: &QueueContract) -> Order {
        let jobs = [
            ("job", Some(&contract.job)),
            ("reingest", contract.reingest.as_ref()),
            ("delete", contract.delete.as_ref()),
        ];
        let silent = jobs.into_iter().find(|(_, job)| job.is_some_and(|job| !job.mentions(SEQUENCE)));
        match (order.get_ref(), silent) {
            (Order::Data, Some((job, _))) => self.report(
                order.span(),
                format!("the data of `{job}` does not say the order of jobs"),
                format!("add a field with {{{{{SEQUENCE}}}}}, such as sequence = \"{{{{{SEQUENCE}}}}}\""),
            ),
            (Order::Row, _) if contract.before.is_none() => self.report(
                order.span(),
                "no row says the order of jobs: [queue] has no `before`",
                "write the statement by which the application gives a row its version, with {{document.sequence}}",
            ),
            _ => {}
        }
        *order.get_ref()
    }

    fn job(&mut self, job: WrittenJob) -> JobContract {
        let backoff = job.backoff.map(|backoff| {
            if !(0.0..=1.0).contains(&backoff.get_ref().jitter) {
                self.report(backoff.span(), "`jitter` is not between 0 and 1", "write a fraction, e.g. jitter = 0.5");
            }
            backoff.into_inner()
        });
        let data = job
            .data
            .into_iter()
            .filter_map(|(name, value)| Some((name, self.data(value.get_ref(), &value.span())?)))
            .collect();
        let options = job.options.into_iter().filter_map(|(name, value)| self.option(name, &value)).collect();
        JobContract {
            queue: job.queue.map(|name| self.queue_name(name)),
            name: job.name,
            data,
            attempts: job.attempts.map(|attempts| attempts.max(1)),
            backoff,
            options,
        }
    }

    /// The name of a further queue.
    fn queue_name(&mut self, name: Spanned<String>) -> String {
        if name.get_ref().trim().is_empty() || name.get_ref().contains(':') {
            let problem = format!("`{}` is not the name of a queue", name.get_ref());
            self.report(name.span(), problem, "write the name without the prefix: BullMQ does not accept a colon");
        }
        name.into_inner()
    }

    /// The statement that is executed before a document is enqueued.
    fn before(&mut self, written: &WrittenBefore) -> Option<Template> {
        let sql = &written.sql;
        if sql.get_ref().trim().is_empty() {
            self.report(
                sql.span(),
                "the statement is empty",
                "write an INSERT with {{document.id}}, or remove `before`",
            );
        }
        let places: Vec<&str> = DOCUMENT_PLACES.iter().chain(TABLE_PLACES).copied().collect();
        self.template(sql.get_ref(), sql.span(), &places, false)
    }

    /// A job option, if it is supported and BullMQ accepts its value.
    fn option(&mut self, name: String, value: &Spanned<Value>) -> Option<(String, serde_json::Value)> {
        if !JOB_OPTIONS.contains(&name.as_str()) {
            let remedy = format!("supported options: {}", JOB_OPTIONS.join(", "));
            self.report(value.span(), format!("unsupported job option `{name}`"), remedy);
            return None;
        }
        let json = serde_json::to_value(value.get_ref()).ok()?;
        let table = serde_json::json!({ name.as_str(): json });
        if let Err(error) = serde_json::from_value::<bullmq::options::JobOptions>(table) {
            let problem = format!("invalid value for job option `{name}`: {error}");
            self.report(value.span(), problem, "write a value that BullMQ accepts for this option");
            return None;
        }
        Some((name, json))
    }

    fn data(&mut self, value: &Value, span: &Range<usize>) -> Option<Data> {
        Some(match value {
            Value::String(text) => Data::Text(self.template(text, span.clone(), DOCUMENT_PLACES, false)?),
            Value::Integer(number) => Data::Literal((*number).into()),
            Value::Float(number) => Data::Literal((*number).into()),
            Value::Boolean(on) => Data::Literal((*on).into()),
            Value::Datetime(at) => Data::Literal(at.to_string().into()),
            Value::Array(items) => Data::List(items.iter().filter_map(|item| self.data(item, span)).collect()),
            Value::Table(fields) => Data::Map(
                fields.iter().filter_map(|(name, field)| Some((name.clone(), self.data(field, span)?))).collect(),
            ),
        })
    }
}
