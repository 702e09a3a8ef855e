//! What an expression pays for the work that it causes.
//!
//! minijinja charges fuel for instructions and for what they create, and not for what many of them look at: with a
//! text of a megabyte, a test costs as much as with an empty one. So whatever works through its operands pays here, a
//! unit of fuel for so many bytes.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};
use serde_json::Value as Json;

use super::budget::check_clock;
use super::value::JsonView;

/// Bytes that one unit of fuel pays for; the same as minijinja's own.
pub(super) const BYTES_PER_FUEL: u64 = 64;
/// What looking at a value costs besides the bytes of a text.
pub(super) const VALUE_BYTES: u64 = 32;
/// Fuel that is used between two readings of the clock.
const CLOCK_CHECK_FUEL: u64 = 4096;

/// Takes fuel from an evaluation.
pub(super) struct Meter<'a, 'template, 'env> {
    state: &'a State<'template, 'env>,
    owed: u64,
    used: u64,
}

impl<'a, 'template, 'env> Meter<'a, 'template, 'env> {
    pub(super) fn new(state: &'a State<'template, 'env>) -> Self {
        Self { state, owed: 0, used: 0 }
    }

    /// Pays for work on so many bytes.
    pub(super) fn pay(&mut self, bytes: u64) -> Result<(), Error> {
        self.owed = self.owed.saturating_add(bytes);
        if self.owed < BYTES_PER_FUEL {
            return Ok(());
        }
        let fuel = self.owed / BYTES_PER_FUEL;
        self.owed %= BYTES_PER_FUEL;
        self.state.consume_fuel(fuel)?;
        self.used = self.used.saturating_add(fuel);
        if self.used >= CLOCK_CHECK_FUEL {
            self.used = 0;
            check_clock(self.state)?;
        }
        Ok(())
    }

    /// Pays once for all that a value holds, at any depth, and returns how much that was.
    pub(super) fn pay_all(&mut self, value: &Value) -> Result<u64, Error> {
        if let Some(text) = value.as_str() {
            return self.paid(VALUE_BYTES + text.len() as u64);
        }
        if let Some(view) = value.downcast_object_ref::<JsonView>() {
            return self.pay_json(view.json());
        }
        let mut paid = self.paid(VALUE_BYTES)?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                for item in value.try_iter()? {
                    paid += self.pay_all(&item)?;
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    paid += self.pay_all(&key)? + self.pay_all(&value.get_item(&key)?)?;
                }
            }
            ValueKind::Invalid => return Err(invalid(value)),
            _ => {}
        }
        Ok(paid)
    }

    fn pay_json(&mut self, json: &Json) -> Result<u64, Error> {
        match json {
            Json::String(text) => self.paid(VALUE_BYTES + text.len() as u64),
            Json::Array(items) => items
                .iter()
                .try_fold(self.paid(VALUE_BYTES)?, |paid, item| Ok(paid + self.pay_json(item)?)),
            Json::Object(fields) => {
                fields.iter().try_fold(self.paid(VALUE_BYTES)?, |paid, (key, value)| {
                    Ok(paid + self.paid(key.len() as u64)? + self.pay_json(value)?)
                })
            }
            _ => self.paid(VALUE_BYTES),
        }
    }

    fn paid(&mut self, bytes: u64) -> Result<u64, Error> {
        self.pay(bytes)?;
        Ok(bytes)
    }
}

/// The error that made a value invalid.
pub(super) fn invalid(value: &Value) -> Error {
    let error = value.try_iter().err();
    error.unwrap_or_else(|| super::reason::refuse("the value is not valid"))
}
