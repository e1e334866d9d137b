//! Aliases: other names for collections, changed atomically.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Json, respond};
use crate::collection::blocking;
use crate::storage::AliasChange;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/aliases", get(all))
        .route("/collections/aliases", post(change))
        .route("/collections/{name}/aliases", get(of_collection))
}

#[derive(Deserialize)]
struct Body {
    actions: Vec<Action>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names are the API's")]
enum Action {
    CreateAlias { collection_name: String, alias_name: String },
    DeleteAlias { alias_name: String },
    RenameAlias { old_alias_name: String, new_alias_name: String },
}

impl From<Action> for AliasChange {
    fn from(action: Action) -> Self {
        match action {
            Action::CreateAlias { collection_name, alias_name } => {
                Self::Create { collection: collection_name, alias: alias_name }
            }
            Action::DeleteAlias { alias_name } => Self::Delete { alias: alias_name },
            Action::RenameAlias { old_alias_name, new_alias_name } => {
                Self::Rename { old: old_alias_name, new: new_alias_name }
            }
        }
    }
}

async fn change(State(app): State<App>, Json(body): Json<Body>) -> Response {
    let since = Instant::now();
    let changes = body.actions.into_iter().map(Into::into).collect();
    let result = blocking(move || app.storage.apply_aliases(changes)).await;
    respond(since, result.map(|()| true))
}

fn list(aliases: BTreeMap<String, String>, of: Option<&str>) -> Value {
    let rows: Vec<Value> = aliases
        .into_iter()
        .filter(|(_, collection)| of.is_none_or(|name| name == collection))
        .map(|(alias, collection)| json!({ "alias_name": alias, "collection_name": collection }))
        .collect();
    json!({ "aliases": rows })
}

async fn all(State(app): State<App>) -> Response {
    respond(Instant::now(), Ok(list(app.storage.aliases(), None)))
}

async fn of_collection(State(app): State<App>, Path(name): Path<String>) -> Response {
    let since = Instant::now();
    respond(since, app.storage.get(&name).map(|_| list(app.storage.aliases(), Some(&name))))
}
