//! The filters, tests and functions that there are, and what each costs.
//!
//! A template that names `upper` gets a filter of another name, which no template can name: it pays for what `upper`
//! is about to work through and then calls it. What is not in these lists cannot be reached at all, so nothing can be
//! added without saying what it costs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State};

use super::compare::{Order, contains, equal};
use super::meter::{Meter, VALUE_BYTES};
use super::ordering::{self, Keys};
use super::reason::refuse;

/// What a filter or test works through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// Nothing that grows: it looks at what a value is, or hands out what is there already.
    Constant,
    /// The bytes of the texts among its arguments, so many times: copying one is cheap, mapping characters is not.
    Text(u64),
    /// All that its arguments hold.
    All,
    /// All that its arguments hold, and that once more each time that the first of them, a text, names one.
    Named,
    /// The items of lists that it adds up, with all those before them each time.
    Sums,
    /// What it orders items by, as often as ordering compares an item.
    Keys(Keys),
    /// It pays for itself.
    Own,
}

/// Copying or scanning bytes.
const SCAN: Cost = Cost::Text(1);
/// Looking at each character, or making many small texts of one.
const CHARACTERS: Cost = Cost::Text(4);
/// Mapping each character by Unicode's tables, or parsing.
const TABLES: Cost = Cost::Text(8);

/// The filters that there are.
pub(super) const FILTERS: [(&str, Cost); 44] = [
    ("abs", SCAN),
    ("batch", SCAN),
    ("bool", Cost::Constant),
    ("capitalize", TABLES),
    ("count", SCAN),
    ("d", Cost::Constant),
    ("default", Cost::Constant),
    ("dictsort", Cost::Keys(Keys::Fields)),
    ("first", Cost::Constant),
    ("float", TABLES),
    ("format", Cost::Named),
    ("fromjson", TABLES),
    ("groupby", Cost::Keys(Keys::Groups)),
    ("indent", CHARACTERS),
    ("int", TABLES),
    ("items", Cost::Constant),
    ("join", Cost::All),
    ("last", CHARACTERS),
    ("length", SCAN),
    ("lines", CHARACTERS),
    ("list", CHARACTERS),
    ("lower", TABLES),
    ("map", SCAN),
    ("max", Cost::Keys(Keys::Items)),
    ("min", Cost::Keys(Keys::Items)),
    ("reject", SCAN),
    ("rejectattr", SCAN),
    ("replace", CHARACTERS),
    ("reverse", CHARACTERS),
    ("round", SCAN),
    ("select", SCAN),
    ("selectattr", SCAN),
    ("sha256", CHARACTERS),
    ("sort", Cost::Keys(Keys::Items)),
    ("split", CHARACTERS),
    ("string", Cost::All),
    ("sum", Cost::Sums),
    ("title", TABLES),
    ("tojson", Cost::All),
    ("trim", CHARACTERS),
    ("truncate", SCAN),
    ("unique", Cost::Keys(Keys::Equals)),
    ("upper", TABLES),
    ("urlencode", Cost::All),
];
/// Filters of minijinja that there are not: they could multiply a value, or have no meaning here.
pub(super) const REMOVED_FILTERS: [&str; 8] =
    ["attr", "chain", "e", "escape", "pprint", "safe", "slice", "zip"];
/// The tests that there are.
pub(super) const TESTS: [(&str, Cost); 36] = [
    ("!=", Cost::Own),
    ("<", Cost::Own),
    ("<=", Cost::Own),
    ("==", Cost::Own),
    (">", Cost::Own),
    (">=", Cost::Own),
    ("boolean", Cost::Constant),
    ("defined", Cost::Constant),
    ("divisibleby", SCAN),
    ("endingwith", SCAN),
    ("eq", Cost::Own),
    ("equalto", Cost::Own),
    ("even", SCAN),
    ("false", Cost::Constant),
    ("float", Cost::Constant),
    ("ge", Cost::Own),
    ("gt", Cost::Own),
    ("in", Cost::Own),
    ("int", Cost::Constant),
    ("integer", Cost::Constant),
    ("iterable", SCAN),
    ("le", Cost::Own),
    ("lower", TABLES),
    ("lt", Cost::Own),
    ("mapping", Cost::Constant),
    ("ne", Cost::Own),
    ("none", Cost::Constant),
    ("number", Cost::Constant),
    ("odd", SCAN),
    ("sameas", SCAN),
    ("sequence", Cost::Constant),
    ("startingwith", SCAN),
    ("string", Cost::Constant),
    ("true", Cost::Constant),
    ("undefined", Cost::Constant),
    ("upper", TABLES),
];
/// Tests of minijinja that there are not: they ask about the environment, or have no meaning here.
pub(super) const REMOVED_TESTS: [&str; 6] =
    ["filter", "test", "safe", "escaped", "lessthan", "greaterthan"];
/// The functions that there are.
pub(super) const FUNCTIONS: [&str; 1] = ["range"];

/// Bytes of a path to an attribute. It is gone through for each of the items, at no cost of its own.
const PATH_BYTES_MAX: usize = 256;

type Names = LazyLock<BTreeMap<&'static str, String>>;

static METERED_FILTERS: Names = LazyLock::new(|| all_metered(&FILTERS));
static METERED_TESTS: Names = LazyLock::new(|| all_metered(&TESTS));

fn all_metered(names: &[(&'static str, Cost)]) -> BTreeMap<&'static str, String> {
    names.iter().map(|(name, _)| (*name, metered(name))).collect()
}

fn metered(name: &str) -> String {
    format!("__{name}")
}

/// The name of the filter that pays before it does what the one of this name does.
pub(super) fn metered_filter(name: &str) -> Result<&'static str, Error> {
    let names: &'static BTreeMap<_, _> = &METERED_FILTERS;
    names.get(name).map(String::as_str).ok_or_else(|| refuse("there is no filter of this name"))
}

/// The name of the test that pays before it does what the one of this name does.
pub(super) fn metered_test(name: &str) -> Result<&'static str, Error> {
    let names: &'static BTreeMap<_, _> = &METERED_TESTS;
    names.get(name).map(String::as_str).ok_or_else(|| refuse("there is no test of this name"))
}

/// Adds everything in the lists under its metered name.
pub(super) fn register(environment: &mut Environment<'static>) {
    add_comparisons(environment);
    for (name, cost) in FILTERS {
        let filter = move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let mut arguments = arguments.into_values();
            refuse_long_path(name, &arguments)?;
            pay(state, name, cost, &arguments)?;
            name_metered(name, &mut arguments)?;
            state.apply_filter(name, &arguments)
        };
        environment.add_filter(metered(name), filter);
    }
    for (name, cost) in TESTS {
        let test = move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            pay(state, name, cost, &arguments)?;
            state.perform_test(name, &arguments)
        };
        environment.add_test(metered(name), test);
    }
}

fn pay(state: &State<'_, '_>, name: &str, cost: Cost, arguments: &[Value]) -> Result<(), Error> {
    match cost {
        Cost::Constant | Cost::Own => Ok(()),
        Cost::Text(times) => {
            let texts = arguments.iter().filter_map(Value::as_str);
            Meter::new(state).pay(times * texts.map(|text| text.len() as u64).sum::<u64>())
        }
        Cost::All => {
            let mut meter = Meter::new(state);
            arguments.iter().try_for_each(|argument| meter.pay_all(argument).map(|_| ()))
        }
        Cost::Named => {
            let mut meter = Meter::new(state);
            let Some((text, named)) = arguments.split_first() else { return Ok(()) };
            meter.pay_all(text)?;
            let paid =
                named.iter().try_fold(0, |paid, it| Ok::<_, Error>(paid + meter.pay_all(it)?))?;
            let times = text.as_str().map_or(0, |text| text.matches("%(").count() as u64);
            meter.pay(paid.saturating_mul(times))
        }
        Cost::Sums => {
            let mut meter = Meter::new(state);
            let texts = arguments.iter().filter_map(Value::as_str);
            meter.pay(texts.map(|text| text.len() as u64).sum())?;
            let start = ordering::option(arguments, "start").or_else(|| arguments.get(2).cloned());
            let Some(mut length) =
                start.filter(|start| start.kind() == ValueKind::Seq).and_then(|it| it.len())
            else {
                return Ok(());
            };
            for item in arguments[0].try_iter()? {
                length += item.len().unwrap_or(0);
                meter.pay(VALUE_BYTES * length as u64)?;
            }
            Ok(())
        }
        Cost::Keys(keys) => ordering::pay(state, name, keys, arguments),
    }
}

/// Refuses a long path to what a filter looks at in each item.
fn refuse_long_path(name: &str, arguments: &[Value]) -> Result<(), Error> {
    let at = match name {
        "groupby" | "rejectattr" | "selectattr" | "sum" => Some(1),
        "join" => Some(2),
        _ => None,
    };
    let given = at.and_then(|at| arguments.get(at)).filter(|argument| !argument.is_kwargs());
    let paths = given.cloned().into_iter().chain(ordering::option(arguments, "attribute"));
    for path in paths {
        if path.as_str().is_some_and(|path| path.len() > PATH_BYTES_MAX) {
            let most = format!("an attribute's path is longer than {PATH_BYTES_MAX} bytes");
            return Err(refuse(most));
        }
    }
    Ok(())
}

/// Lets a filter that applies another, or a test, by its name find the one that pays.
fn name_metered(name: &str, arguments: &mut [Value]) -> Result<(), Error> {
    let (at, metered): (_, fn(&str) -> _) = match name {
        "map" => (1, metered_filter),
        "select" | "reject" => (1, metered_test),
        "selectattr" | "rejectattr" => (2, metered_test),
        _ => return Ok(()),
    };
    match arguments.get_mut(at) {
        Some(named) if !named.is_kwargs() => {
            let name = named.as_str().ok_or_else(|| refuse(format!("`{name}` needs a name")))?;
            *named = Value::from(metered(name)?);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The tests that compare two values.
fn add_comparisons(environment: &mut Environment<'static>) {
    for name in ["==", "eq", "equalto"] {
        environment.add_test(name, |state: &State<'_, '_>, a: &Value, b: &Value| {
            let mut meter = Meter::new(state);
            equal(a, b, &mut |bytes| meter.pay(bytes))
        });
    }
    for name in ["!=", "ne"] {
        environment.add_test(name, |state: &State<'_, '_>, a: &Value, b: &Value| {
            let mut meter = Meter::new(state);
            equal(a, b, &mut |bytes| meter.pay(bytes)).map(|equal| !equal)
        });
    }
    for (names, order) in [
        (["<", "lt"], Order::Less),
        (["<=", "le"], Order::LessOrEqual),
        ([">", "gt"], Order::Greater),
        ([">=", "ge"], Order::GreaterOrEqual),
    ] {
        for name in names {
            environment.add_test(name, move |state: &State<'_, '_>, a: &Value, b: &Value| {
                let mut meter = Meter::new(state);
                order.holds(a, b, &mut |bytes| meter.pay(bytes))
            });
        }
    }
    environment.add_test("in", |state: &State<'_, '_>, value: &Value, container: &Value| {
        contains(container, value, &mut Meter::new(state))
    });
}
