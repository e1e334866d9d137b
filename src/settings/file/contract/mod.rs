//! Reads the sections of the contract: `[worker]`, `[queue]`, `[evidence]`, `[chunks]` and `[embeddings]`.

mod chunks;
mod preset;
mod queue;
#[cfg(test)]
mod tests;
mod worker;
mod written;

use std::ops::Range;

use toml::Spanned;

use super::reader::Reader;
use crate::settings::contract::{
    Contract, EvidenceContract, Program, QdrantEvidence, QueueContract, WorkerContract, check_payload_path,
};
use crate::settings::template::ENDPOINT_PLACES;
pub(super) use written::{
    WrittenChunks, WrittenContract, WrittenEmbeddings, WrittenEvidence, WrittenQueue, WrittenWorker,
};
use written::{WrittenPreset, WrittenQdrant};

impl Reader<'_> {
    /// The queue, if there is `[queue]`, and the contract, if there is `[worker]`.
    pub(super) fn contract(&mut self, mut written: WrittenContract) -> (Option<QueueContract>, Option<Contract>) {
        let place = written.worker.as_ref().map(Spanned::span).unwrap_or_default();
        let preset = written.worker.as_ref().and_then(|worker| worker.get_ref().preset.clone());
        if let Some(preset) = preset.and_then(|name| self.preset(&name)) {
            written.apply(preset, place.clone());
        }
        let queue = written.queue.map(|queue| self.queue(queue));
        let evidence = written.evidence.map(|evidence| self.evidence(evidence));
        let chunks = written.chunks.map(|chunks| self.chunks(chunks.into_inner())).unwrap_or_default();
        let embeddings = written.embeddings.map(|embeddings| self.embeddings(embeddings)).unwrap_or_default();
        let contract = written.worker.map(|worker| Contract {
            path: Some(self.path.to_owned()),
            worker: self.worker(worker),
            queue: queue.clone().unwrap_or_default(),
            evidence: evidence.unwrap_or_default(),
            chunks,
            embeddings,
        });
        if let Some(Contract { worker: WorkerContract { program: Program::Image { .. }, .. }, queue, .. }) = &contract {
            let jobs = [Some(&queue.job), queue.reingest.as_ref()];
            if jobs.into_iter().flatten().any(|job| job.mentions("document.path")) {
                self.report(
                    place,
                    "the job passes {{document.path}}, but a worker in a container cannot read the harness's files",
                    "pass documents as {{document.text}} or {{document.url}}",
                );
            }
        }
        (queue, contract)
    }

    fn evidence(&mut self, evidence: Spanned<WrittenEvidence>) -> EvidenceContract {
        let span = evidence.span();
        let evidence = evidence.into_inner();
        if evidence.qdrant.is_none() {
            self.report(
                span,
                "[evidence] does not describe the points in Qdrant",
                "write qdrant = { document = \"FIELD\", chunk = \"FIELD\", text = \"FIELD\" }",
            );
        }
        let qdrant = evidence.qdrant.map(|qdrant| self.qdrant(qdrant)).unwrap_or_default();
        let postgres = evidence.postgres.map(|postgres| {
            let span = postgres.span();
            let postgres = postgres.into_inner();
            if postgres.query.is_some() && postgres.table.is_some() {
                self.report(span.clone(), "`table` and `query` are both set", "keep one of `table` and `query`");
            }
            if let Some(query) = &postgres.query {
                self.template(query, span, ENDPOINT_PLACES, false);
            }
            postgres
        });
        EvidenceContract { qdrant, postgres }
    }

    fn qdrant(&mut self, written: Spanned<WrittenQdrant>) -> QdrantEvidence {
        let span = written.span();
        let written = written.into_inner();
        if written.document.is_none() {
            self.report(
                span.clone(),
                "`qdrant` does not name the field with a document's id",
                "write [evidence] qdrant = { document = \"FIELD\" }",
            );
        }
        if let (Some(_), Some(offset)) = (&written.chunk, &written.offset) {
            self.report(
                offset.span(),
                "`chunk` and `offset` are both set",
                "keep `chunk`, or `offset` if chunks have no index",
            );
        }
        let document = written.document.map(|document| self.payload_path(document)).unwrap_or_default();
        let mut path = |path: Option<Spanned<String>>| path.map(|path| self.payload_path(path));
        QdrantEvidence {
            collection: written.collection,
            vector: written.vector,
            document,
            chunk: path(written.chunk),
            offset: path(written.offset),
            text: path(written.text),
            version: path(written.version),
            filter: written.filter.into_iter().map(|(key, value)| (self.payload_path(key), value)).collect(),
        }
    }

    /// The path of a payload field; reports one that is invalid.
    fn payload_path(&mut self, path: Spanned<String>) -> String {
        if let Err(problem) = check_payload_path(path.get_ref()) {
            let remedy = "write names joined by dots, and `|json.` behind a field that holds JSON, e.g. \
                          \"metadata.source\" or \"_node_content|json.text\"";
            self.report(path.span(), problem, remedy);
        }
        path.into_inner()
    }
}

impl WrittenContract {
    /// Lays what a preset says under the keys of the file. The problems of what is not there are reported at `place`.
    fn apply(&mut self, preset: WrittenPreset, place: Range<usize>) {
        if let Some(worker) = &mut self.worker {
            let worker = worker.get_mut();
            worker.exit_codes = worker.exit_codes.take().or(preset.exit_codes);
        }
        if let Some(below) = preset.qdrant {
            let evidence = self.evidence.get_or_insert_with(|| Spanned::new(place.clone(), WrittenEvidence::default()));
            let evidence = evidence.get_mut();
            let span = evidence.qdrant.as_ref().map_or(place.clone(), Spanned::span);
            let below = below.into_inner();
            let qdrant = match evidence.qdrant.take() {
                Some(own) => own.into_inner().over(below),
                None => below,
            };
            evidence.qdrant = Some(Spanned::new(span, qdrant));
        }
        if let Some(below) = preset.chunks {
            let span = self.chunks.as_ref().map_or(place, Spanned::span);
            let own = self.chunks.take().map(Spanned::into_inner).unwrap_or_default();
            self.chunks = Some(Spanned::new(span, own.over(below.into_inner())));
        }
        if let Some(below) = preset.embeddings {
            self.embeddings = Some(self.embeddings.take().unwrap_or_default().over(below));
        }
    }
}
