//! The contracts that are written for small projects.
