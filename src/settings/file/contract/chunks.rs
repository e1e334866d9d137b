//! Reads `[chunks]` and `[embeddings]`.

use toml::{Spanned, Value};

use super::super::reader::Reader;
use super::written::{Newlines, WrittenChunks, WrittenEmbeddings};
use crate::settings::contract::{ChunkFigure, ChunksContract, Embedded, EmbeddingsContract, SizeUnit};
use crate::spec::Range;

impl Reader<'_> {
    pub(super) fn chunks(&mut self, written: WrittenChunks) -> ChunksContract {
        let default = ChunksContract::default();
        if let (Some(_), Some(characters)) = (&written.tokens, &written.characters) {
            let problem = "`tokens` and `characters` are both set";
            self.report(characters.span(), problem, "keep the one that the worker's splitter counts");
        }
        let unit = if written.characters.is_some() { SizeUnit::Characters } else { SizeUnit::Tokens };
        let size = written.tokens.or(written.characters);
        let permitted = default.embedded;
        ChunksContract {
            size: size.map_or(default.size, |size| self.figure(&size, unit)),
            overlap: written.overlap.map_or(default.overlap, |overlap| self.figure(&overlap, unit)),
            whitespace: written.whitespace.unwrap_or(default.whitespace),
            drops: written.drops.unwrap_or(default.drops),
            ids: written.ids,
            embedded: Embedded {
                newlines_replaced: written
                    .embedded
                    .newlines
                    .map_or(permitted.newlines_replaced, |newlines| newlines == Newlines::Space),
                prefix: written.embedded.prefix.unwrap_or(permitted.prefix),
            },
        }
    }

    /// A figure: bounds, a number that is the upper bound, or `false`.
    fn figure(&mut self, value: &Spanned<Value>, unit: SizeUnit) -> ChunkFigure {
        const REMEDY: &str = "write { at_least = 1, at_most = 512 }, a number that is the upper bound, or false";
        let range = match value.get_ref() {
            Value::Boolean(false) => return ChunkFigure::NotJudged,
            Value::Integer(_) | Value::Float(_) => number(value.get_ref())
                .map(|most| Range { at_least: None, at_most: Some(most) })
                .ok_or_else(|| format!("invalid bound `{}`", value.get_ref())),
            Value::Table(_) => value.get_ref().clone().try_into::<Range>().map_err(|error| error.message().to_owned()),
            other => Err(format!("invalid bounds `{other}`")),
        };
        match range {
            Err(problem) => self.report(value.span(), problem, REMEDY),
            Ok(Range { at_least: None, at_most: None }) => {
                self.report(value.span(), "the bounds are empty", REMEDY);
            }
            Ok(range) if !range.at_least.is_none_or(|least| least >= 0.0 && range.holds(least)) => {
                self.report(value.span(), format!("no number is {range}"), REMEDY);
            }
            Ok(range) if range.at_most.is_some_and(|most| !range.holds(most) || most < 0.0) => {
                self.report(value.span(), format!("no number is {range}"), REMEDY);
            }
            Ok(range) => return ChunkFigure::Within(unit, range),
        }
        ChunkFigure::Undeclared
    }

    pub(super) fn embeddings(&mut self, written: WrittenEmbeddings) -> EmbeddingsContract {
        let default = EmbeddingsContract::default();
        let declared = written.task.is_some();
        let task = match written.task {
            None => default.task,
            Some(task) if task.get_ref() == "none" => None,
            Some(task) => {
                if task.get_ref().trim().is_empty() {
                    self.report(task.span(), "`task` is empty", "write task = \"retrieval.passage\" or \"none\"");
                }
                Some(task.into_inner())
            }
        };
        EmbeddingsContract { task, declared, setup_texts: written.setup_texts.unwrap_or(default.setup_texts) }
    }
}

fn number(value: &Value) -> Option<f64> {
    let integer = value.as_integer().and_then(|number| u32::try_from(number).ok()).map(f64::from);
    value.as_float().or(integer).filter(|number| *number >= 0.0)
}
