//! The part of the Redis configuration that depends on the version; shared by the native and the containers provider.

/// The line that lets a scenario make saving fail (`CONFIG SET dir`). Before Redis 7 that was always allowed and the
/// line is an error.
pub(super) const fn protected_configs(major: Option<u32>) -> &'static str {
    match major {
        Some(major) if major >= 7 => "enable-protected-configs yes\n",
        _ => "",
    }
}
