//! Reading prices: those that are part of the program, and the operator's file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use skein_shared::document;
use skein_shared::domain::diagnostic::{Diagnostic, join_pointer, nearest};
use skein_shared::domain::limits::DOCUMENT_BYTES_MAX;
use skein_shared::domain::money::{NanoDollars, Price};

use super::{ModelPrice, Prices, Table};

/// The fields of a price.
const FIELDS: [&str; 4] = ["input", "output", "cache_read", "cache_write"];

/// Reads the table that is part of the program, whose amounts are nano-dollars. A test reads every one of them.
pub(super) fn built_in(text: &str) -> BTreeMap<String, Table> {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for (provider, models) in document["providers"].as_object().into_iter().flatten() {
        let table = tables.entry(provider.clone()).or_default();
        for (model, entry) in models.as_object().into_iter().flatten() {
            let above = entry
                .get("above")
                .and_then(|tier| Some((tier["tokens"].as_u64()?, whole_price(tier)?)));
            if let Some(price) = whole_price(entry) {
                table.insert(model.clone(), ModelPrice { price, above });
            }
        }
    }
    tables
}

fn whole_price(entry: &Value) -> Option<Price> {
    let [input, output, cache_read, cache_write] = FIELDS.map(|name| entry[name].as_i64());
    Some(Price {
        input: input?,
        output: output?,
        cache_read: cache_read?,
        cache_write: cache_write?,
    })
}

/// The prices of a file beside those that there are.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read(path: &Path, known: &Prices) -> Result<Prices, String> {
    let problem = |diagnostics: Vec<Diagnostic>| {
        let mut problem = format!("names {}, which cannot be used:", path.display());
        for diagnostic in diagnostics {
            let message = diagnostic.placed_message();
            let Diagnostic { pointer, hint, .. } = &diagnostic;
            let place = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
            let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
            problem.push_str(&format!("\n  {place}{message}{hint}"));
        }
        problem
    };
    let text = read_text(path)
        .map_err(|error| problem(vec![Diagnostic::new("", error.to_string(), "")]))?;
    let document = document::parse(&text, None).map_err(|diagnostic| problem(vec![diagnostic]))?;
    merge(&document, known).map_err(problem)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than is taken, so that what is too large is refused and not cut.
    File::open(path)?.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The prices of a document beside those that there are.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn merge(document: &Value, known: &Prices) -> Result<Prices, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let mut tables = (*known.0).clone();
    let Some(providers) = document.as_object() else {
        let hint = "`provider:` and below it `model: {input: 0.15, output: 0.6}`";
        return Err(vec![Diagnostic::new("", "an object of providers is due", hint)]);
    };
    for (provider, models) in providers {
        let pointer = join_pointer("", provider);
        match models {
            Value::String(like) => match known.0.get(like) {
                Some(table) => {
                    tables.insert(provider.clone(), table.clone());
                }
                None => {
                    let hint = known.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let message = "no provider whose prices are part of the program";
                    diagnostics.push(Diagnostic::new(pointer, message, hint));
                }
            },
            Value::Object(models) => {
                let table = tables.entry(provider.clone()).or_default();
                for (model, entry) in models {
                    let pointer = join_pointer(&pointer, model);
                    if let Some(price) = price(entry, &pointer, &mut diagnostics) {
                        table.insert(model.clone(), ModelPrice { price, above: None });
                    }
                }
            }
            _ => {
                let hint = "an object of models, or the name of a provider that costs the same";
                diagnostics.push(Diagnostic::new(pointer, "no prices of a provider", hint));
            }
        }
    }
    match diagnostics.is_empty() {
        true => Ok(Prices(Arc::new(tables))),
        false => Err(diagnostics),
    }
}

fn price(entry: &Value, pointer: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Price> {
    let before = diagnostics.len();
    let Some(fields) = entry.as_object() else {
        let hint = "`{input: 0.15, output: 0.6}`, in US dollars for a million tokens";
        diagnostics.push(Diagnostic::new(pointer, "a price is an object", hint));
        return None;
    };
    for field in fields.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
        let hint = nearest(field, FIELDS).map_or_else(
            || format!("there are {}", FIELDS.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        diagnostics.push(Diagnostic::new(join_pointer(pointer, field), "unknown field", hint));
    }
    let input = amount(fields, "input", pointer, diagnostics);
    let output = amount(fields, "output", pointer, diagnostics);
    for (name, amount) in [("input", input), ("output", output)] {
        if amount.is_none() && !fields.contains_key(name) {
            let message = format!("`{name}` is missing");
            let hint = "US dollars for a million tokens";
            diagnostics.push(Diagnostic::new(pointer, message, hint));
        }
    }
    // What has no price of its own is billed as input.
    let cache_read = amount(fields, "cache_read", pointer, diagnostics).or(input);
    let cache_write = amount(fields, "cache_write", pointer, diagnostics).or(input);
    if diagnostics.len() > before {
        return None;
    }
    Some(Price {
        input: input?,
        output: output?,
        cache_read: cache_read?,
        cache_write: cache_write?,
    })
}

/// Nano-dollars for a million tokens. A part of one is cut off.
fn amount(
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<i64> {
    let value = fields.get(name)?;
    let dollars = value.as_number().and_then(|dollars| NanoDollars::from_dollars(dollars).ok());
    if dollars.is_none() {
        let hint = "a number of US dollars for a million tokens, from 0 to 1000000";
        let pointer = join_pointer(pointer, name);
        diagnostics.push(Diagnostic::new(pointer, "no price", hint));
    }
    dollars.map(|dollars| dollars.0)
}
