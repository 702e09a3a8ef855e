//! Operators, metered and strict: what the instructions of a compiled expression are replaced by.
//!
//! minijinja has no hook for operators, and its own compare any two values and charge nothing for long ones. So each
//! of those instructions becomes the call of a filter that no template can name. It happens to what the compiler has
//! made of an expression, so precedence, chains and the order of evaluation stay as they are.

use std::collections::BTreeSet;

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Rest, Value, ValueOrKwargs};
use minijinja::{Environment, Error, State};

use super::builtins::{metered_filter, metered_test};
use super::compare::{Order, contains, equal};
use super::meter::Meter;
use super::reason::refuse;
use super::walk::Lenient;

/// Pays for the texts among the values on top of the stack and leaves them there.
const PAY_TEXTS: &str = "__pay_texts";
/// The same for all that they hold.
const PAY_ALL: &str = "__pay_all";
/// The same for what something is looked up in, if it is a text, and for all that is looked up.
const PAY_ITEM: &str = "__pay_item";
/// The same for all that the keys of an object hold, which lie before their values.
const PAY_KEYS: &str = "__pay_keys";
/// Lets only numbers pass: minijinja's `*` repeats strings and lists, and what it repeats lists into costs no fuel,
/// which is how a dozen characters make a value that takes hours to print.
const NUMBERS: &str = "__numbers";
/// A step of a path that leads on from what is undefined, to a member or an item: to nothing.
const STEP_ON: &str = "__step_on";
/// Constant indexes that are looked up in a text for nothing: finding one takes no longer than calling a filter.
const NEAR: i64 = 64;
/// Where minijinja keeps no handle of a filter, and looks for it by name.
const NO_LOCAL: u8 = u8::MAX;

/// A comparison of minijinja's, and the filters that take its place.
struct Replaced {
    /// What minijinja's instruction is called.
    instruction: &'static str,
    comparison: Comparison,
    filter: &'static str,
    /// Within a chain, where the right operand is needed again.
    and_keep: &'static str,
}

impl Replaced {
    const fn new(
        instruction: &'static str,
        comparison: Comparison,
        filter: &'static str,
        and_keep: &'static str,
    ) -> Self {
        Self { instruction, comparison, filter, and_keep }
    }
}

const COMPARISONS: [Replaced; 8] = [
    Replaced::new("Eq", Comparison::Equal(true), "__eq", "__eq_and_keep"),
    Replaced::new("Ne", Comparison::Equal(false), "__ne", "__ne_and_keep"),
    Replaced::new("Lt", Comparison::Order(Order::Less), "__lt", "__lt_and_keep"),
    Replaced::new("Lte", Comparison::Order(Order::LessOrEqual), "__lte", "__lte_and_keep"),
    Replaced::new("Gt", Comparison::Order(Order::Greater), "__gt", "__gt_and_keep"),
    Replaced::new("Gte", Comparison::Order(Order::GreaterOrEqual), "__gte", "__gte_and_keep"),
    Replaced::new("In", Comparison::In(true), "__in", "__in_and_keep"),
    Replaced::new("NotIn", Comparison::In(false), "__not_in", "__not_in_and_keep"),
];

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal(bool),
    Order(Order),
    In(bool),
}

impl Comparison {
    fn holds(self, state: &State<'_, '_>, a: &Value, b: &Value) -> Result<bool, Error> {
        for value in [a, b] {
            if value.is_undefined() {
                // The error that names what is undefined.
                value.get_attr("")?;
            }
        }
        let mut meter = Meter::new(state);
        match self {
            Self::Equal(expected) => Ok(equal(a, b, &mut |bytes| meter.pay(bytes))? == expected),
            Self::Order(order) => order.holds(a, b, &mut |bytes| meter.pay(bytes)),
            Self::In(expected) => Ok(contains(b, a, &mut meter)? == expected),
        }
    }
}

pub(super) fn register(environment: &mut Environment<'static>) {
    for Replaced { comparison, filter, and_keep, .. } in COMPARISONS {
        environment.add_filter(filter, move |state: &State<'_, '_>, a: &Value, b: &Value| {
            comparison.holds(state, a, b)
        });
        environment.add_filter(and_keep, move |state: &State<'_, '_>, a: &Value, b: &Value| {
            Ok::<_, Error>(vec![Value::from(comparison.holds(state, a, b)?), b.clone()])
        });
    }
    environment.add_filter(PAY_TEXTS, |state: &State<'_, '_>, values: Rest<ValueOrKwargs>| {
        let values = values.into_values();
        let texts = values.iter().filter_map(Value::as_str);
        Meter::new(state).pay(texts.map(|text| text.len() as u64).sum())?;
        Ok::<_, Error>(put_back(values))
    });
    environment.add_filter(PAY_ALL, |state: &State<'_, '_>, values: Rest<ValueOrKwargs>| {
        let values = values.into_values();
        let mut meter = Meter::new(state);
        values.iter().try_for_each(|value| meter.pay_all(value).map(|_| ()))?;
        Ok::<_, Error>(put_back(values))
    });
    environment.add_filter(PAY_ITEM, |state: &State<'_, '_>, from: &Value, key: &Value| {
        let mut meter = Meter::new(state);
        meter.pay(from.as_str().map_or(0, |text| text.len() as u64))?;
        meter.pay_all(key)?;
        Ok::<_, Error>(put_back(vec![from.clone(), key.clone()]))
    });
    environment.add_filter(PAY_KEYS, |state: &State<'_, '_>, values: Rest<ValueOrKwargs>| {
        let values = values.into_values();
        let mut meter = Meter::new(state);
        values.iter().step_by(2).try_for_each(|key| meter.pay_all(key).map(|_| ()))?;
        Ok::<_, Error>(put_back(values))
    });
    environment.add_filter(STEP_ON, step_on);
    environment.add_filter(NUMBERS, |values: Rest<ValueOrKwargs>| {
        let values = values.into_values();
        if values.iter().all(Value::is_number) {
            Ok(put_back(values))
        } else {
            Err(refuse("only numbers can be multiplied"))
        }
    });
}

/// What stands under a name or an index; of what is undefined, that itself, which knows by what name it is so.
fn step_on(from: &Value, key: &Value) -> Result<Value, Error> {
    if from.is_undefined() { Ok(from.clone()) } else { from.get_item(key) }
}

/// A list that is unpacked onto the stack as the values lay there.
fn put_back(values: Vec<Value>) -> Value {
    values.into_iter().rev().collect()
}

/// The instructions of an expression with every operator and call metered, and with the steps that lead on from what is
/// undefined.
pub(super) fn metered<'source>(
    plain: &Instructions<'source>,
    lenient: &Lenient,
) -> Result<Instructions<'source>, Error> {
    let mut out = Instructions::new(plain.name(), plain.source());
    // Where each of the plain instructions begins, for the jumps among them.
    let mut offsets = Vec::new();
    let mut count = 0;
    let targets = targets(plain);
    let (mut before, mut subscripts) = (None, 0);
    for at in 0.. {
        offsets.push(count);
        let Some(instruction) = plain.get(at) else { break };
        // Where a jump leads to, anything may have come before.
        let before_it = before.filter(|_| !targets.contains(&at));
        let mut replaced = steps(instruction, before_it)?;
        let leads_on = match instruction {
            Instruction::GetAttr(name) => lenient.has_name(plain.source(), name),
            Instruction::GetItem => {
                subscripts += 1;
                lenient.has_subscript(subscripts - 1)
            }
            _ => false,
        };
        if leads_on {
            replaced.pop();
            if let Instruction::GetAttr(name) = instruction {
                replaced.push(Instruction::LoadConst(Value::from(*name)));
            }
            replaced.push(call(STEP_ON, 2));
        }
        for step in replaced {
            count = 1 + match (plain.get_span(at), plain.get_line(at)) {
                (Some(span), _) => out.add_with_span(step, span),
                (None, Some(line)) => {
                    out.add_with_line(step, u16::try_from(line).unwrap_or(u16::MAX))
                }
                (None, None) => out.add(step),
            };
        }
        before = Some(instruction);
    }
    for at in 0..count {
        if let Some(
            Instruction::Iterate(to)
            | Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to),
        ) = out.get_mut(at)
        {
            *to = offsets[*to as usize];
        }
    }
    Ok(out)
}

/// Where jumps lead to.
fn targets(instructions: &Instructions<'_>) -> BTreeSet<u32> {
    let all = (0..).map_while(|at| instructions.get(at));
    let targets = all.filter_map(|instruction| match instruction {
        Instruction::Iterate(to)
        | Instruction::Jump(to)
        | Instruction::JumpIfFalse(to)
        | Instruction::JumpIfFalseOrPop(to)
        | Instruction::JumpIfTrueOrPop(to) => Some(*to),
        _ => None,
    });
    targets.collect()
}

/// What takes an instruction's place. All that there are are named, so that a new one does not slip through.
fn steps<'source>(
    instruction: &Instruction<'source>,
    before: Option<&Instruction<'source>>,
) -> Result<Vec<Instruction<'source>>, Error> {
    let plain = || vec![instruction.clone()];
    Ok(match instruction {
        Instruction::Eq => compare("Eq")?,
        Instruction::Ne => compare("Ne")?,
        Instruction::Lt => compare("Lt")?,
        Instruction::Lte => compare("Lte")?,
        Instruction::Gt => compare("Gt")?,
        Instruction::Gte => compare("Gte")?,
        Instruction::In => compare("In")?,
        Instruction::CompareAndPreserve(comparison) => {
            let and_keep = comparison_of(&format!("{comparison:?}"))?.and_keep;
            // The result comes to lie above the right operand.
            vec![call(and_keep, 2), Instruction::UnpackList(2)]
        }
        // A list is written with all that it holds, which may be the same text many times.
        Instruction::StringConcat => first_by(PAY_ALL, 2, instruction),
        Instruction::Mul => first_by(NUMBERS, 2, instruction),
        Instruction::Slice => first_by(PAY_TEXTS, 4, instruction),
        Instruction::GetItem => match before {
            // Names of fields, and indexes near the beginning, cost nothing in a text; for others the name of what is
            // undefined is given up.
            Some(Instruction::LoadConst(key))
                if key.as_str().is_some()
                    || key.as_i64().is_some_and(|at| (0..NEAR).contains(&at)) =>
            {
                plain()
            }
            _ => first_by(PAY_ITEM, 2, instruction),
        },
        // Finding a key's position goes through all of the key.
        Instruction::BuildMap(count) if *count > 0 => {
            let operands = u16::try_from(2 * count).map_err(|_| refuse("an object this large"))?;
            first_by(PAY_KEYS, operands, instruction)
        }
        // Over a text, a loop goes by its characters, which are counted first.
        Instruction::PushLoop(_) | Instruction::FastRecurse => {
            vec![call(PAY_TEXTS, 1), Instruction::UnpackList(1), instruction.clone()]
        }
        // `loop.changed` compares its arguments with those of the time before.
        Instruction::CallMethod(_, Some(count)) | Instruction::CallObject(Some(count)) => {
            first_by(PAY_ALL, *count, instruction)
        }
        Instruction::CallFunction(_, Some(count)) if *count > 0 => {
            first_by(PAY_TEXTS, *count, instruction)
        }
        Instruction::ApplyFilter(name, count, local) => {
            vec![Instruction::ApplyFilter(metered_filter(name)?, *count, *local)]
        }
        Instruction::PerformTest(name, count, local) => {
            vec![Instruction::PerformTest(metered_test(name)?, *count, *local)]
        }
        // Charged by minijinja for what they create or write, or of constant cost.
        Instruction::EmitRaw(_)
        | Instruction::StoreLocal(_)
        | Instruction::Lookup(_)
        | Instruction::GetAttr(_)
        | Instruction::LoadConst(_)
        | Instruction::BuildMap(_)
        | Instruction::BuildKwargs(_)
        | Instruction::BuildList(_)
        | Instruction::BuildTuple(_)
        | Instruction::UnpackList(_)
        | Instruction::Add
        | Instruction::Sub
        | Instruction::Div
        | Instruction::IntDiv
        | Instruction::Rem
        | Instruction::Pow
        | Instruction::Neg
        | Instruction::Not
        | Instruction::Emit
        | Instruction::Iterate(_)
        | Instruction::PushDidNotIterate
        | Instruction::PopLoopFrame
        | Instruction::Jump(_)
        | Instruction::JumpIfFalse(_)
        | Instruction::JumpIfFalseOrPop(_)
        | Instruction::JumpIfTrueOrPop(_)
        | Instruction::CallFunction(_, Some(_))
        | Instruction::DupTop
        | Instruction::DiscardTop
        | Instruction::Swap => plain(),
        // What the language here does not have: blocks, captures, unpacked arguments.
        Instruction::SetAttr(_)
        | Instruction::MergeKwargs(_)
        | Instruction::UnpackLists(_)
        | Instruction::PushWith
        | Instruction::PopFrame
        | Instruction::PushAutoEscape
        | Instruction::PopAutoEscape
        | Instruction::BeginCapture(_)
        | Instruction::EndCapture
        | Instruction::CallFunction(_, None)
        | Instruction::CallMethod(_, None)
        | Instruction::CallObject(None) => return Err(refuse("this is not available")),
    })
}

fn comparison_of(instruction: &str) -> Result<&'static Replaced, Error> {
    let found = COMPARISONS.iter().find(|replaced| replaced.instruction == instruction);
    found.ok_or_else(|| refuse("this comparison is not available"))
}

fn compare<'source>(instruction: &str) -> Result<Vec<Instruction<'source>>, Error> {
    comparison_of(instruction).map(|replaced| vec![call(replaced.filter, 2)])
}

fn call<'source>(filter: &'static str, operands: u16) -> Instruction<'source> {
    Instruction::ApplyFilter(filter, Some(operands), NO_LOCAL)
}

/// An instruction whose operands go through a filter before.
fn first_by<'source>(
    filter: &'static str,
    operands: u16,
    instruction: &Instruction<'source>,
) -> Vec<Instruction<'source>> {
    let unpack = Instruction::UnpackList(usize::from(operands));
    vec![call(filter, operands), unpack, instruction.clone()]
}
