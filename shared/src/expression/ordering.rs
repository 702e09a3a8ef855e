//! What items are ordered by: that it has an order, and what ordering it costs.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};

use super::compare::Class;
use super::meter::Meter;

/// What a filter orders, or distinguishes, its items by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// By themselves or by `attribute`; they must have an order.
    Items,
    /// By themselves or by `attribute`, only to find equal ones.
    Equals,
    /// The same for an attribute that is named first.
    Groups,
    /// The fields of an object by name or, with `by='value'`, by value; they must have an order.
    Fields,
}

/// Pays for a filter that orders what its first argument holds, and makes sure that it can.
pub(super) fn pay(
    state: &State<'_, '_>,
    name: &str,
    keys: Keys,
    arguments: &[Value],
) -> Result<(), Error> {
    let mut meter = Meter::new(state);
    let Some(items) = arguments.first() else { return Ok(()) };
    meter.pay(items.as_str().map_or(0, |text| text.len() as u64))?;
    // What cannot be gone through is for the filter to refuse.
    let Ok(iter) = items.try_iter() else { return Ok(()) };
    let attribute = match keys {
        Keys::Items | Keys::Equals => option(arguments, "attribute"),
        Keys::Groups => {
            let first = arguments.get(1).filter(|argument| !argument.is_kwargs());
            first.cloned().or_else(|| option(arguments, "attribute"))
        }
        Keys::Fields => None,
    };
    let default = option(arguments, "default").filter(|_| keys == Keys::Groups);
    let by_value = keys == Keys::Fields
        && option(arguments, "by").is_some_and(|by| by.as_str() == Some("value"));
    let (mut paid, mut count) = (0, 0_u64);
    let mut class: Option<Class> = None;
    for item in iter {
        let key = match attribute.as_ref().and_then(Value::as_str) {
            Some(paths) => of_paths(&item, paths),
            None if by_value => items.get_item(&item)?,
            None => item,
        };
        let key = match &default {
            Some(default) if key.is_undefined() => default.clone(),
            _ => key,
        };
        paid += meter.pay_all(&key)?;
        count += 1;
        if matches!(keys, Keys::Items | Keys::Fields) {
            let other = Class::of(&key, &mut meter)?;
            match &mut class {
                None => class = Some(other),
                Some(class) => class.join(other).map_err(|unlike| unlike.refused(name))?,
            }
        }
    }
    // The first time is paid for.
    meter.pay(paid.saturating_mul(u64::from(count.max(1).ilog2())))
}

/// An argument that is given by name.
pub(super) fn option(arguments: &[Value], name: &str) -> Option<Value> {
    let options = arguments.last().filter(|argument| argument.is_kwargs())?;
    options.get_item(&Value::from(name)).ok().filter(|value| !value.is_undefined())
}

/// What stands at a path in an item, or at several, separated by commas.
fn of_paths(item: &Value, paths: &str) -> Value {
    let mut keys = paths.split(',').map(str::trim).filter(|path| !path.is_empty());
    match (keys.next(), keys.next()) {
        (None, _) => at_path(item, paths),
        (Some(path), None) => at_path(item, path),
        (Some(first), Some(second)) => {
            let keys = [first, second].into_iter().chain(keys);
            keys.map(|path| at_path(item, path)).collect()
        }
    }
}

fn at_path(item: &Value, path: &str) -> Value {
    path.split('.').fold(item.clone(), |at, step| {
        if at.kind() == ValueKind::Undefined {
            return at;
        }
        let found = match step.parse::<usize>() {
            Ok(index) => at.get_item_by_index(index),
            Err(_) => at.get_attr(step),
        };
        found.unwrap_or(Value::UNDEFINED)
    })
}
