//! The picture of a status.

/// The glyph of a run's or a node's status.
pub(super) fn glyph(status: &str) -> &'static str {
    match status {
        "succeeded" => "✓",
        "failed" | "timed_out" | "uncertain" => "✗",
        "running" => "…",
        "retry" => "↻",
        "waiting" | "suspended" | "held" => "◷",
        "skipped" | "skipping" | "cancelled" => "-",
        _ => "·",
    }
}
