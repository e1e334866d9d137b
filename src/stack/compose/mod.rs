//! A Docker Compose file for local development: written from templates ([`files`]), and checked ([`check`]) by
//! [`rules`].

pub(super) mod check;
pub(super) mod files;
pub(super) mod rules;
mod variables;
