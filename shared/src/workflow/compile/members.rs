//! Whether there can be what expressions read: members of the input, of what is known of a run, of what nodes yield.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::DIAGNOSTICS_MAX;
use super::document::Document;
use super::edges::DraftEdge;
use super::known::{Astray, Known};
use super::nodes::DraftNode;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Part, Severity, nearest, quoted};
use crate::domain::graph::NodeIx;
use crate::domain::kind::NodeKind;
use crate::expression::{Guard, INSTEAD_OF_LENGTH, Read, Root, Step, Usage, instead_of_method};

/// Names that are listed of what there is.
const NAMES_MAX: usize = 8;
/// Names among which the one that is meant is looked for.
const CANDIDATES_MAX: usize = 1_000;

/// Holds all that is read against what is known.
pub(super) fn check(
    document: &Document<'_>,
    nodes: &[DraftNode],
    edges: &[DraftEdge],
    index: &HashMap<Arc<str>, NodeIx>,
    diagnostics: &mut Diagnostics,
) {
    let input = document.input_schema.as_ref().map_or(Known::Anything, Known::of_schema);
    let run = Known::of_run();
    let all = nodes.iter().zip(document.nodes);
    let outputs: Vec<_> = all.map(|(node, written)| Known::of_node(node, written)).collect();
    let known_of = |read: &Read| match &read.root {
        Root::Input => Some(&input),
        Root::Run => Some(&run),
        Root::Args => None,
        Root::Node(node) => index.get(node).map(|node| &outputs[*node]),
    };
    // What leads to nothing and is asked for in a string: it is told of there, and not where the answer is a condition.
    let asked = |read: &Read, at: usize| (Arc::clone(&read.pointer), written(read, at + 1));
    let all_asked: HashSet<_> = all_reads(document, nodes, edges)
        .map(|(read, _)| read)
        .filter(|read| read.guard == Guard::Default)
        .filter_map(|read| Some(asked(read, known_of(read)?.astray(&read.path)?.at)))
        .collect();
    let mut looked_for = 0;
    for (read, is_of_condition) in all_reads(document, nodes, edges) {
        let Some(known) = known_of(read) else { continue };
        let found = match known.astray(&read.path) {
            Some(astray)
                if read.guard == Guard::Condition
                    && all_asked.contains(&asked(read, astray.at)) =>
            {
                None
            }
            Some(astray) => {
                looked_for += 1;
                Some(nothing(read, &astray, looked_for <= DIAGNOSTICS_MAX))
            }
            None => length(read, known).or_else(|| misused(read, known, is_of_condition)),
        };
        diagnostics.0.extend(found);
    }
}

/// All that the expressions of a document read, and whether what reads it must yield true or false.
fn all_reads<'d>(
    document: &'d Document<'_>,
    nodes: &'d [DraftNode],
    edges: &'d [DraftEdge],
) -> impl Iterator<Item = (&'d Read, bool)> {
    let params = nodes.iter().filter_map(|node| {
        let params = node.params.as_ref()?;
        // Besides conditions, such a node has names alone.
        Some((params.template.references(), node.kind == Some(NodeKind::Condition)))
    });
    let whens = edges.iter().filter_map(|edge| edge.when.as_ref());
    let whens = whens.map(|when| (when.references(), true));
    let output = document.output.iter().map(|output| (output.references(), false));
    params.chain(whens).chain(output).flat_map(|(references, is_of_condition)| {
        references.reads.iter().map(move |read| (read, is_of_condition))
    })
}

/// The diagnostic of a step that leads to nothing. Where a default stands for it, that is what always holds; under a
/// condition, it may never be read.
fn nothing(read: &Read, astray: &Astray<'_, '_>, is_meant_looked_for: bool) -> Diagnostic {
    let path = written(read, astray.at);
    let (member, at) = match read.path.get(astray.at) {
        Some(Step::Member(name, at) | Step::Key(name, at)) => (Some(&**name), *at),
        _ => (None, read.offset),
    };
    let (message, hint) = match (astray.from, member) {
        (Known::Object { names, .. }, Some(member)) => {
            let candidates = names.iter().copied().take(CANDIDATES_MAX);
            let meant = if is_meant_looked_for { nearest(member, candidates) } else { None };
            let hint = match (meant, names.is_empty()) {
                (Some(name), _) => format!("did you mean `{name}`?"),
                (None, true) => "it has no members".to_owned(),
                (None, false) => format!("there are {}", listed(names)),
            };
            (format!("`{path}` has no {}", quoted(member)), hint)
        }
        (known, Some(member)) => {
            let message = format!("`{path}` is {} and has no {}", in_words(known), quoted(member));
            (message, instead_of_method(member).to_owned())
        }
        (known, None) => {
            (format!("`{path}` is {} and has no items", in_words(known)), String::new())
        }
    };
    let severity = match read.guard {
        Guard::Nothing => Severity::Mistake,
        Guard::Condition | Guard::Default => Severity::Warning,
    };
    let diagnostic = Diagnostic::new(&*read.pointer, message, hint).of(Part::Text(at));
    Diagnostic { severity, ..diagnostic }
}

/// The warning of a member that is probably meant to be the length, of what may well have such a member.
fn length(read: &Read, known: &Known<'_>) -> Option<Diagnostic> {
    let (last, before) = read.path.split_last()?;
    let Step::Member(name, at) = last else { return None };
    if &**name != "length" || read.guard != Guard::Nothing || !known.is_unknown(before) {
        return None;
    }
    let (message, hint) = INSTEAD_OF_LENGTH;
    let diagnostic = Diagnostic::new(&*read.pointer, message, hint);
    Some(Diagnostic { severity: Severity::Warning, ..diagnostic.of(Part::Text(*at)) })
}

/// The warning of what is done with a value that another type is needed for.
fn misused(read: &Read, known: &Known<'_>, is_of_condition: bool) -> Option<Diagnostic> {
    let found = known.at(&read.path)?;
    // Of an object, a schema may say what it is like without saying that it is one.
    if !matches!(found, Known::Text | Known::Simple(_) | Known::List(_)) {
        return None;
    }
    let (path, words) = (written(read, read.path.len()), in_words(found));
    let (message, hint) = match read.usage {
        Usage::Equated(other) if never_equal(words, other) => {
            let quotes = if words == "text" { ", in quotes" } else { "" };
            let message = format!("`{path}` is {words}, and never equal to {other}");
            (message, format!("compare it with {words}{quotes}"))
        }
        Usage::Alone if is_of_condition && words != "a boolean" => {
            let message = format!("`{path}` is {words}, and a condition yields true or false");
            (message, format!("compare it with what it is to be: `{path} == …`"))
        }
        _ => return None,
    };
    let diagnostic = Diagnostic::new(&*read.pointer, message, hint).of(Part::Text(read.offset));
    Some(Diagnostic { severity: Severity::Warning, ..diagnostic })
}

/// Whether values of two types always differ. True and false are numbers too.
fn never_equal(one: &str, other: &str) -> bool {
    let is_number = |words: &str| matches!(words, "a number" | "a boolean");
    one != other && !(is_number(one) && is_number(other))
}

fn in_words(known: &Known<'_>) -> &'static str {
    match known {
        Known::Object { .. } => "an object",
        Known::List(_) => "a list",
        Known::Text => "text",
        Known::Simple(words) => words,
        Known::Anything | Known::Either(_) => "a value",
    }
}

/// What is read up to a step.
fn written(read: &Read, steps: usize) -> String {
    let root = match &read.root {
        Root::Input => "input".to_owned(),
        Root::Run => "run".to_owned(),
        Root::Args => "args".to_owned(),
        Root::Node(node) => format!("nodes.{node}"),
    };
    read.path.iter().take(steps).fold(root, |path, step| match step {
        Step::Member(name, _) | Step::Key(name, _) => format!("{path}.{name}"),
        Step::Item => format!("{path}[…]"),
    })
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<_> = names.iter().take(NAMES_MAX).map(|name| shortened(name)).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// A name, in quotes where it is long.
fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    if name.chars().count() > CHARS_MAX { quoted(name) } else { name.to_owned() }
}
