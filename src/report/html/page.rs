//! The frame of every page: style, script, content security policy and harmless text.

use std::collections::BTreeSet;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::outcome::Word;
use crate::redaction::printable;

const PAGE: &str = include_str!("../templates/page.html.j2");
const STYLE: &str = include_str!("../templates/page.css");
const SCRIPT: &str = include_str!("../templates/page.js");

/// A page to be written.
pub(crate) struct Page {
    /// Its template's name.
    pub(crate) name: &'static str,
    /// A template that extends `page.html`.
    pub(crate) template: &'static str,
    /// The values for the template: an object.
    pub(crate) context: Value,
    /// Values that the template makes when it comes to them, by name: a large report is then not in memory as a whole.
    pub(crate) lazy: Vec<(&'static str, minijinja::Value)>,
    /// Style in addition to that of every page.
    pub(crate) style: &'static str,
    /// Script in addition to that of every page.
    pub(crate) script: &'static str,
    /// Whether its script may send requests to its server.
    pub(crate) live: bool,
}

/// Writes a page.
pub(crate) fn page(page: Page, out: &mut impl Write) -> io::Result<()> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(io::Error::other)?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page.html", PAGE).map_err(io::Error::other)?;
    environment.add_template(page.name, page.template).map_err(io::Error::other)?;
    let symbols: Map<String, Value> =
        Word::ALL.iter().map(|word| (word.as_str().to_owned(), word.symbol().into())).collect();
    let (style, script) = (format!("{STYLE}{}", page.style), format!("{SCRIPT}{}", page.script));
    let own = json!({
        "style_hash": digest(&style),
        "style": style,
        "script_hash": digest(&script),
        "script": script,
        "live": page.live,
        "symbols": symbols,
    });
    let template = environment.get_template(page.name).map_err(io::Error::other)?;
    let Value::Object(fields) = page.context else { return Err(io::Error::other("the context is no object")) };
    let fields = fields.into_iter().map(|(key, value)| (key, harmless(value)));
    let own = ("page".to_owned(), minijinja::Value::from(Serde(own)));
    let lazy = page.lazy.into_iter().map(|(key, value)| (key.to_owned(), value));
    let context = minijinja::Value::from_pairs(fields.chain(lazy).chain([own]));
    // A template is rendered without its last newline.
    template.render_captured_to(context, &mut *out).map_err(io::Error::other)?;
    writeln!(out)
}

/// The digest with which the policy allows a script or style.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// The value for a template, without characters that HTML cannot hold or that change the direction of text. Consumes its
/// argument part by part, so that a large report is not in memory twice.
pub(super) fn harmless(value: Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(value) => value.into(),
        Value::Number(number) => minijinja::Value::from(Serde(number)),
        Value::String(text) => printable(&text).into_owned().into(),
        Value::Array(items) => items.into_iter().map(harmless).collect(),
        Value::Object(fields) => minijinja::Value::from_pairs(
            fields.into_iter().map(|(key, value)| (printable(&key).into_owned(), harmless(value))),
        ),
    }
}

/// Ids of elements: stable across reports, and unique on one page.
#[derive(Debug, Default)]
pub(super) struct Anchors(BTreeSet<String>);

impl Anchors {
    /// An id for `name` of this `kind`.
    pub(super) fn id(&mut self, kind: &str, name: &str) -> String {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        let name: String = name.chars().map(|letter| if plain(letter) { letter } else { '-' }).take(120).collect();
        let first = format!("{kind}-{name}");
        let mut id = first.clone();
        let mut number = 2;
        while !self.0.insert(id.clone()) {
            id = format!("{first}-{number}");
            number += 1;
        }
        id
    }
}
