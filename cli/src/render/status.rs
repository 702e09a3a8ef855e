//! The picture of a status.

/// What is said of a node that has no row although its run has ended.
pub(super) const NOT_REACHED: &str = "not reached";
/// What is said of a node that has no row yet.
pub(super) const PENDING: &str = "pending";

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
