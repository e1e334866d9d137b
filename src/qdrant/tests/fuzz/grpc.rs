//! Requests of the gRPC protocol: random messages of the types that the client's `.proto` files describe.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::http::uri::PathAndQuery;
use prost_reflect::prost::Message as _;
use prost_reflect::prost::bytes::{Buf, BufMut};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::values;

/// Levels of an ordinary message.
const LEVELS: usize = 6;

/// A gRPC request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Service and method.
    pub(crate) path: String,
    /// The message.
    pub(crate) message: Vec<u8>,
    /// The message as text, unless it was damaged afterwards.
    pub(crate) text: String,
}

/// The methods of all services, and what their messages may hold.
pub(crate) struct Methods {
    methods: Vec<(String, MessageDescriptor)>,
    /// Messages that may hold, at some depth, one of their own kind or one that does.
    recursive: HashSet<String>,
}

impl Methods {
    pub(crate) fn new() -> Self {
        let pool = DescriptorPool::from_file_descriptor_set(
            protox::compile(["qdrant.proto"], [proto_directory()]).expect("the client's files"),
        )
        .expect("descriptors");
        let methods = pool.services().flat_map(|service| {
            let name = service.full_name().to_owned();
            service
                .methods()
                .map(move |method| (format!("/{name}/{}", method.name()), method.input()))
                .collect::<Vec<_>>()
        });
        let recursive = pool.all_messages().filter(|message| reaches_cycle(message, &mut Vec::new()));
        Self {
            methods: methods.collect(),
            recursive: recursive.map(|message| message.full_name().to_owned()).collect(),
        }
    }

    /// A random request.
    pub(crate) fn request(&self, rng: &mut StdRng) -> Request {
        let mut method = self.methods.choose(rng).expect("methods");
        if method.0.starts_with("/qdrant.Collections/Delete") || method.0.contains("Full") {
            // Less often: the former leaves little to try, and the latter takes long.
            method = self.methods.choose(rng).expect("methods");
        }
        let (path, input) = method;
        let deep = if rng.random_bool(0.15) { values::levels(rng).min(120) } else { 0 };
        let built = self.message(rng, input, 0, deep);
        let mut message = built.encode_to_vec();
        let mut text = built.to_text_format();
        if rng.random_bool(0.05) {
            values::damage(rng, &mut message);
            text = format!("(damaged) {message:02x?}");
        }
        Request { path: path.clone(), message, text }
    }

    /// A message at `level`, of which `deep` more levels go to one place.
    fn message(&self, rng: &mut StdRng, of: &MessageDescriptor, level: usize, deep: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        if deep > 0 {
            let fields: Vec<_> = of.fields().filter(|field| self.is_recursive(field)).collect();
            if let Some(field) = fields.choose(rng) {
                message.set_field(field, self.value(rng, field, level, deep - 1));
                // Nothing else may be wrong with most of them.
                if level > LEVELS || level > 0 && rng.random_bool(0.7) {
                    return message;
                }
            }
        }
        let mut chosen = HashSet::new();
        for field in of.fields() {
            if message.has_field(&field) {
                continue;
            }
            if let Some(oneof) = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1) {
                let free = !oneof.fields().any(|it| message.has_field(&it));
                if chosen.insert(oneof.name().to_owned()) && free && rng.random_bool(0.98) {
                    let ends = |field: &FieldDescriptor| level <= LEVELS || !self.is_recursive(field);
                    let fields: Vec<_> = oneof.fields().filter(ends).collect();
                    if let Some(field) = fields.choose(rng) {
                        message.set_field(field, self.value(rng, field, level, 0));
                    }
                }
                continue;
            }
            if rng.random_bool(presence(&field, level)) {
                message.set_field(&field, self.value(rng, &field, level, 0));
            }
        }
        message
    }

    fn is_recursive(&self, field: &FieldDescriptor) -> bool {
        matches!(value_kind(field), Kind::Message(inner) if self.recursive.contains(inner.full_name()))
    }

    fn value(&self, rng: &mut StdRng, field: &FieldDescriptor, level: usize, deep: usize) -> Value {
        if field.is_map() {
            let many = if deep > 0 { 1 } else { rng.random_range(0..3) };
            let entries = (0..many).map(|_| (MapKey::String(key(rng, field)), self.single(rng, field, level, deep)));
            return Value::Map(entries.collect::<HashMap<_, _>>());
        }
        if field.is_list() {
            let many = match field.kind() {
                _ if deep > 0 => 1,
                Kind::Float if rng.random_bool(0.9) => 4,
                Kind::Message(_) if level > 3 => 1,
                _ if rng.random_bool(0.03) => 300,
                _ => rng.random_range(0..4),
            };
            return Value::List((0..many).map(|_| self.single(rng, field, level, deep)).collect());
        }
        self.single(rng, field, level, deep)
    }

    fn single(&self, rng: &mut StdRng, field: &FieldDescriptor, level: usize, deep: usize) -> Value {
        match value_kind(field) {
            Kind::Message(of) => Value::Message(self.message(rng, &of, level + 1, deep)),
            Kind::Enum(of) => {
                let known = of.values().map(|value| value.number()).collect::<Vec<_>>();
                Value::EnumNumber(if rng.random_bool(0.95) { *known.choose(rng).expect("values") } else { 77 })
            }
            Kind::Bool => Value::Bool(rng.random()),
            Kind::String => Value::String(text(rng, field)),
            Kind::Bytes => Value::Bytes(vec![0, 1, 2].into()),
            #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
            Kind::Float => Value::F32(match rng.random_range(0..200) {
                0 => f32::NAN,
                1 => f32::INFINITY,
                _ => values::number(rng) as f32,
            }),
            Kind::Double => Value::F64(if rng.random_bool(0.01) { f64::NAN } else { values::number(rng) }),
            #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
            kind => {
                let number = if field.name() == "size" && rng.random_bool(0.9) { 4 } else { values::whole(rng) };
                match kind {
                    Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
                    Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
                    Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
                    _ => Value::I64(number.cast_signed()),
                }
            }
        }
    }
}

/// The kind of a field's value, also if the field is a map.
fn value_kind(field: &FieldDescriptor) -> Kind {
    match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
        kind => kind,
    }
}

fn reaches_cycle(message: &MessageDescriptor, above: &mut Vec<String>) -> bool {
    if above.iter().any(|name| name == message.full_name()) {
        return true;
    }
    above.push(message.full_name().to_owned());
    let found = message.fields().any(|field| match value_kind(&field) {
        Kind::Message(inner) => reaches_cycle(&inner, above),
        _ => false,
    });
    above.pop();
    found
}

/// How likely a field is set.
fn presence(field: &FieldDescriptor, level: usize) -> f64 {
    match field.name() {
        "collection_name" | "points" | "id" | "wait" => 0.98,
        // These are not implemented, whatever else the request has.
        name if name.starts_with("shard") || name == "sharding_method" || name == "idf" => 0.02,
        // The messages within a small one are required, as a rule.
        _ if !field.is_list()
            && matches!(field.kind(), Kind::Message(_))
            && field.parent_message().fields().len() <= 4 =>
        {
            0.97
        }
        _ if level > LEVELS => 0.05,
        _ if level > 2 => 0.4,
        _ => 0.6,
    }
}

fn key(rng: &mut StdRng, field: &FieldDescriptor) -> String {
    if field.name().contains("vectors") { values::vector_name(rng) } else { values::field(rng) }
}

fn text(rng: &mut StdRng, field: &FieldDescriptor) -> String {
    match field.name() {
        "collection_name" | "collection" => values::collection(rng),
        "key" | "keys" | "field_name" | "group_by" | "to" | "datetime_key" | "fields" | "variable" => {
            values::field(rng)
        }
        "vector_name" | "using" | "names" | "has_vector" => values::vector_name(rng),
        "uuid" if rng.random_bool(0.9) => "550e8400-e29b-41d4-a716-446655440000".to_owned(),
        _ => values::text(rng),
    }
}

/// Where the sources of the client have their `.proto` files.
fn proto_directory() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&metadata.stderr).into_owned();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect(&text);
    let packages = metadata["packages"].as_array().expect("packages");
    let client = packages.iter().find(|package| package["name"] == "qdrant-client").expect("the client");
    let manifest = Path::new(client["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a directory").join("proto")
}

/// Sends a request; the code and the text of the answer.
pub(crate) async fn send(channel: &Channel, request: &Request) -> (Code, String) {
    let mut client = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    if let Err(error) = client.ready().await {
        return (Code::Unavailable, error.to_string());
    }
    let path = PathAndQuery::try_from(request.path.clone()).expect("a path");
    match client.unary(tonic::Request::new(request.message.clone()), path, Raw).await {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}
