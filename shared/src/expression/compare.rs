//! Comparing values, at a price.
//!
//! minijinja orders any two values, by their types where these differ: `"3" > 5` is true and `none < 5` too, whatever
//! the author meant. Here only what has an order is ordered: numbers, text, truth values, and lists of such by their
//! first items that differ. Whether two values are equal can always be decided.

use std::cmp::Ordering;

use minijinja::Error;
use minijinja::tests::is_sameas;
use minijinja::value::{Value, ValueKind};

use super::meter::{Meter, VALUE_BYTES, invalid};
use super::reason::refuse;
use super::value::write_text;

/// An operator or test that asks for the order of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    /// Whether two values are so.
    pub(super) fn holds(self, a: &Value, b: &Value, pay: Pay<'_>) -> Result<bool, Error> {
        let ordering =
            order(a, b, pay)?.map_err(|incomparable| incomparable.refused(self.sign()))?;
        Ok(match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// Takes what a comparison costs, in bytes.
pub(super) type Pay<'a> = &'a mut dyn FnMut(u64) -> Result<(), Error>;

/// Two values without an order, by their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incomparable(pub(super) ValueKind, pub(super) ValueKind);

impl Incomparable {
    /// In the words that minijinja has for other operators.
    pub(super) fn refused(self, what: &str) -> Error {
        let Self(a, b) = self;
        refuse(format!("tried to use {what} operator on unsupported types {a} and {b}"))
    }
}

/// The order of two values.
fn order(a: &Value, b: &Value, pay: Pay<'_>) -> Result<Result<Ordering, Incomparable>, Error> {
    pay(VALUE_BYTES)?;
    let incomparable = Incomparable(a.kind(), b.kind());
    Ok(match (a.kind(), b.kind()) {
        (ValueKind::Number, ValueKind::Number) | (ValueKind::Bool, ValueKind::Bool) => Ok(a.cmp(b)),
        (ValueKind::String, ValueKind::String) => {
            pay(text_bytes(a, b))?;
            Ok(a.cmp(b))
        }
        (ValueKind::Invalid, _) => return Err(invalid(a)),
        (_, ValueKind::Invalid) => return Err(invalid(b)),
        (kind, other) if is_list(kind) && is_list(other) && a.is_tuple() == b.is_tuple() => {
            let (mut items, mut others) = (a.try_iter()?, b.try_iter()?);
            loop {
                match (items.next(), others.next()) {
                    (Some(item), Some(other)) => {
                        if !equal(&item, &other, pay)? {
                            break order(&item, &other, pay)?;
                        }
                    }
                    (item, other) => break Ok(item.is_some().cmp(&other.is_some())),
                }
            }
        }
        _ => Err(incomparable),
    })
}

/// Whether two values are the same; numbers by their value, objects whatever the order of their keys.
pub(super) fn equal(a: &Value, b: &Value, pay: Pay<'_>) -> Result<bool, Error> {
    pay(VALUE_BYTES)?;
    if a.as_object().is_none() || b.as_object().is_none() {
        for value in [a, b] {
            if value.kind() == ValueKind::Invalid {
                return Err(invalid(value));
            }
        }
        pay(text_bytes(a, b))?;
        return Ok(a == b);
    }
    if a.is_tuple() != b.is_tuple() {
        return Ok(false);
    }
    if is_sameas(a, b) {
        return Ok(true);
    }
    match (a.kind(), b.kind()) {
        (ValueKind::Map, ValueKind::Map) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for key in a.try_iter()? {
                pay(key.as_str().map_or(0, |key| key.len() as u64))?;
                let found = b.get_item(&key)?;
                if found.is_undefined() || !equal(&a.get_item(&key)?, &found, pay)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (kind, other) if is_list(kind) && is_list(other) => {
            let (mut items, mut others) = (a.try_iter()?, b.try_iter()?);
            loop {
                match (items.next(), others.next()) {
                    (Some(item), Some(other)) if equal(&item, &other, pay)? => {}
                    (None, None) => return Ok(true),
                    _ => return Ok(false),
                }
            }
        }
        _ => Ok(a == b),
    }
}

/// Whether a container holds a value: a text another, a list an item, an object a key.
pub(super) fn contains(
    container: &Value,
    value: &Value,
    meter: &mut Meter<'_, '_, '_>,
) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        meter.pay(VALUE_BYTES + text.len() as u64)?;
        return match value.as_str() {
            Some(part) => Ok(text.contains(part)),
            None if value.as_object().is_some() => {
                Err(Incomparable(value.kind(), container.kind()).refused("in"))
            }
            None => Ok(text.contains(&write_text(value)?)),
        };
    }
    match container.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in container.try_iter()? {
                if equal(&item, value, &mut |bytes| meter.pay(bytes))? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        ValueKind::Map => {
            meter.pay_all(value)?;
            // An object that is no JSON may be looked up in by anything, so its key is asked for.
            Ok(container.as_object().is_some_and(|object| object.get_value(value).is_some()))
        }
        ValueKind::Plain => Ok(false),
        ValueKind::Invalid => Err(invalid(container)),
        _ => Err(Incomparable(value.kind(), container.kind()).refused("in")),
    }
}

/// What the values of a list have in common that is to be ordered: any two of the same class have an order, so that
/// sorting them cannot fail half-way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    Simple(ValueKind),
    List(Vec<Class>),
}

impl Class {
    /// The class of one value, if it has any.
    pub(super) fn of(value: &Value, meter: &mut Meter<'_, '_, '_>) -> Result<Self, Error> {
        meter.pay(VALUE_BYTES)?;
        match value.kind() {
            kind if is_list(kind) => {
                let items = value.try_iter()?.map(|item| Self::of(&item, meter));
                Ok(Self::List(items.collect::<Result<_, _>>()?))
            }
            ValueKind::Invalid => Err(invalid(value)),
            kind => Ok(Self::Simple(kind)),
        }
    }

    /// Takes another value's class into this one. Lists of different lengths go together.
    pub(super) fn join(&mut self, other: Self) -> Result<(), Incomparable> {
        match (self, other) {
            (Self::Simple(kind), Self::Simple(other))
                if *kind == other && *kind != ValueKind::Map && *kind != ValueKind::Undefined =>
            {
                Ok(())
            }
            (Self::List(items), Self::List(others)) => {
                for (at, other) in others.into_iter().enumerate() {
                    match items.get_mut(at) {
                        Some(item) => item.join(other)?,
                        None => items.push(other),
                    }
                }
                Ok(())
            }
            (class, other) => Err(Incomparable(class.kind(), other.kind())),
        }
    }

    fn kind(&self) -> ValueKind {
        match self {
            Self::Simple(kind) => *kind,
            Self::List(_) => ValueKind::Seq,
        }
    }
}

fn is_list(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Seq | ValueKind::Iterable)
}

/// The bytes that comparing two texts looks at, at most.
fn text_bytes(a: &Value, b: &Value) -> u64 {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => a.len().min(b.len()) as u64,
        _ => 0,
    }
}
