//! The name by which the answer to a replaced request is recognised.

/// What the name that stands for an error begins with; the error follows. A service refuses a request with this name, and
/// its refusal quotes the name.
pub(super) const MARK: &str = "shakedown_fault_";
