//! Traces as text, and what is wrong with them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use skein_shared::domain::trace::SpanId;

use super::{Span, Status};

/// Renders the traces of the spans, one span a line, children below their parents, in the order of
/// their start. Without ids and times, so that it can be compared with an expectation:
///
/// ```text
/// SERVER POST /v1/workflows/{name}/runs @skein-api
///   PRODUCER publish skein.work @skein-api
///     CONSUMER process skein.work.default @skein-worker ~ publish skein.work
///     INTERNAL workflow.execute @skein-worker
///       INTERNAL node.execute.http @skein-worker ! 503 from upstream
/// ```
///
/// `~` names the linked spans, `!` shows the error. A span whose parent is missing is a root.
#[must_use]
pub fn render(spans: &[Span]) -> String {
    let names: HashMap<SpanId, &str> =
        spans.iter().map(|span| (span.span_id, span.name.as_str())).collect();
    let mut below: BTreeMap<Option<SpanId>, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        let parent = span.parent.filter(|parent| names.contains_key(parent));
        below.entry(parent).or_default().push(span);
    }
    for children in below.values_mut() {
        children.sort_by_key(|span| (span.start, span.name.clone()));
    }
    let mut text = String::new();
    write_below(&mut text, &below, &names, None, 0);
    text
}

fn write_below(
    text: &mut String,
    below: &BTreeMap<Option<SpanId>, Vec<&Span>>,
    names: &HashMap<SpanId, &str>,
    parent: Option<SpanId>,
    depth: usize,
) {
    for span in below.get(&parent).into_iter().flatten() {
        let kind = format!("{:?}", span.kind).to_uppercase();
        let _ = write!(text, "{:1$}{kind} {2} @{3}", "", depth * 2, span.name, span.service());
        let linked = span.links.iter().map(|link| names.get(&link.span).copied().unwrap_or("?"));
        let linked: Vec<_> = linked.collect();
        if !linked.is_empty() {
            let _ = write!(text, " ~ {}", linked.join(", "));
        }
        if let Status::Error(description) = &span.status {
            let _ = write!(text, " ! {description}");
        }
        text.push('\n');
        write_below(text, below, names, Some(span.span_id), depth + 1);
    }
}

/// The spans whose parent is none of the given spans and not the remote one either.
#[must_use]
pub fn orphans(trace: &[Span], remote_parent: Option<SpanId>) -> Vec<&Span> {
    let known: HashSet<_> = trace.iter().map(|span| span.span_id).chain(remote_parent).collect();
    let is_orphan = |span: &&Span| span.parent.is_some_and(|parent| !known.contains(&parent));
    trace.iter().filter(is_orphan).collect()
}
