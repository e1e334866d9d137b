//! Each kind of source, by a small project.
