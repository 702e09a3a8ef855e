//! Nothing works through much for nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use minijinja::value::{Serde, Value};
use serde_json::json;

use super::allowance::Effort;
use super::builtins::{
    Cost, FILTERS, FUNCTIONS, REMOVED_FILTERS, REMOVED_TESTS, TESTS, metered_filter, metered_test,
};
use super::engine::environment;
use super::{Allowance, Cause, Condition, Scope, Template};

/// Bytes of the texts that are given. A unit of fuel pays for 64 at most.
const BYTES: usize = 256 * 1024;
const FUEL_MIN: u64 = BYTES as u64 / 64;

/// The fuel that `call` uses, whether or not it comes to anything.
fn fuel(call: impl FnOnce(&mut minijinja::State<'_, '_>)) -> u64 {
    let mut state = environment(Effort::Whole).empty_state();
    call(&mut state);
    state.fuel_levels().unwrap().0
}

#[test]
fn every_filter_and_test_that_reads_much_costs_much() {
    let text = Value::from("é".repeat(BYTES / 2));
    let list: Value = (0..4).map(|_| Value::from("é".repeat(BYTES / 8))).collect();
    let object: Value =
        Value::from(Serde(json!({"a": "x".repeat(BYTES / 2), "b": "y".repeat(BYTES / 2)})));
    for (name, cost) in FILTERS {
        let metered = metered_filter(name).unwrap();
        let given = match cost {
            Cost::Constant => continue,
            Cost::Text(_) | Cost::Sums | Cost::Own => vec![text.clone()],
            Cost::All | Cost::Named => vec![list.clone()],
            Cost::Keys(_) if name == "dictsort" => {
                let by = minijinja::value::Kwargs::from_iter([("by", Value::from("value"))]);
                vec![object.clone(), by.into()]
            }
            Cost::Keys(_) => vec![list.clone()],
        };
        let used = fuel(|state| drop(state.apply_filter(metered, &given)));
        assert!(used >= FUEL_MIN, "{name}: {used}");
    }
    for (name, cost) in TESTS {
        let metered = metered_test(name).unwrap();
        if cost != Cost::Constant {
            let given = [text.clone(), Value::from("é".repeat(BYTES / 2))];
            let used = fuel(|state| drop(state.perform_test(metered, &given)));
            assert!(used >= FUEL_MIN, "{name}: {used}");
        }
    }
}

/// What minijinja has besides must be known here, so that an update that adds something is looked at.
#[test]
fn every_filter_test_and_function_of_minijinja_is_metered_or_removed() {
    let fresh = format!("{:?}", minijinja::Environment::new());
    let listed = |section: &str| -> Vec<String> {
        let from = fresh.find(&format!("{section}: ")).expect(section);
        let rest = &fresh[from + section.len() + 2..];
        let end = rest.find([']', '}']).expect("it ends");
        rest[..end].split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let (filters, tests) = (listed("filters"), listed("tests"));
    assert!(filters.len() > 40 && tests.len() > 30, "{fresh}");
    for name in &filters {
        let known = FILTERS.iter().any(|(known, _)| known == name);
        assert!(known || REMOVED_FILTERS.contains(&&**name), "the filter {name}");
    }
    for name in &tests {
        let known = TESTS.iter().any(|(known, _)| known == name);
        assert!(known || REMOVED_TESTS.contains(&&**name), "the test {name}");
    }
    let globals: Vec<_> =
        environment(Effort::Whole).globals().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(globals, FUNCTIONS);
}

fn scope() -> Scope {
    let input = json!({
        "ascii": "x".repeat(BYTES), "same": "x".repeat(BYTES), "wide": "é".repeat(BYTES / 2), "n": -1,
        "list": ["x".repeat(BYTES), "y"], "twin": ["x".repeat(BYTES), "y"], "deep": [[["x".repeat(BYTES)]]],
        "twins": [[["x".repeat(BYTES)]]],
    });
    Scope { input: Arc::new(input), ..Scope::default() }
}

/// A loop that does one thing ever again to values that it got once: if that thing cost no fuel for what it looks
/// at, fuel would last for gigabytes of work.
#[test]
fn every_operator_that_reads_much_costs_much() {
    for (bound, body) in [
        ("input.ascii", "{% if x == same %}{% endif %}"),
        ("input.ascii", "{% if x != same %}{% endif %}"),
        ("input.ascii", "{% if x <= same %}{% endif %}"),
        ("input.ascii", "{% if x < same < x %}{% endif %}"),
        ("input.ascii", "{% if x == same == x %}{% endif %}"),
        ("input.ascii", "{% if 'yx' in x %}{% endif %}"),
        ("input.ascii", "{% if x in 'a' %}{% endif %}"),
        ("input.ascii", "{% if 'yx' not in x in ['b'] %}{% endif %}"),
        ("input.list | list", "{% if x == input.twin %}{% endif %}"),
        ("input.list | list", "{% if same in x %}{% endif %}"),
        ("input.list | list", "{% if x < x + ['z'] %}{% endif %}"),
        ("input.deep | list", "{% if x == input.twins | list %}{% endif %}"),
        ("input.ascii", "{{ x[0:1] }}"),
        ("input.wide", "{{ x[::-90000] }}"),
        ("input.wide", "{{ x[-1] }}"),
        ("input.wide", "{{ x[100000] }}"),
        ("input.wide", "{{ x[input.n] }}"),
        ("input.wide", "{{ x[input.n or 0] }}"),
        ("input.wide", "{{ x[-1 if input.n else 0] }}"),
        ("input.wide", "{% for c in x %}{% if loop.first %}{% endif %}{% endfor %}"),
        ("input.ascii", "{{ x ~ '' }}"),
        ("input.ascii", "{{ x + '' }}"),
        ("input.ascii", "{% if loop.changed(x) %}{% endif %}"),
        ("input.ascii", "{% if x is lower %}{% endif %}"),
        ("input.ascii", "{% if x is eq same %}{% endif %}"),
        ("input.ascii", "{% if [x] | select('upper') | list %}{% endif %}"),
        (
            "input.ascii",
            "{% if [{'x': x}] | selectattr('x', 'endingwith', same) | list %}{% endif %}",
        ),
        ("input.ascii", "{% if [x] | map('lower') | list %}{% endif %}"),
        ("input.ascii", "{% if [x, same] | unique | list %}{% endif %}"),
        ("input.ascii", "{% if [x, same] | max %}{% endif %}"),
        ("input.ascii", "{% if [x, same] | join %}{% endif %}"),
    ] {
        // The text is bound once: looking it up in the input is charged in another way.
        let source = format!(
            "{{% for x in [{bound}] %}}{{% for same in [input.same] %}}{{% for i in range(9999) %}}{body}\
             {{% endfor %}}{{% endfor %}}{{% endfor %}}"
        );
        // Each turn costs at least what looking at the text once does, so that fuel is used up after so many.
        let turns_max = 200_000 / FUEL_MIN + 1;
        let counting = source.replace("range(9999)", &format!("range({turns_max})"));
        for source in [source, counting] {
            let template = Template::parse(&json!(source), "")
                .unwrap_or_else(|diagnostics| panic!("{body}: {diagnostics:?}"));
            let error = template.render(&scope(), &Allowance::whole()).expect_err(body);
            let is_spent =
                error.message.contains("takes too long") || error.message.contains("too much");
            assert!(is_spent, "{body}: {error}");
        }
    }
}

#[test]
fn what_takes_more_than_an_inline_evaluation_may_says_so_and_yields_the_same_with_all_fuel() {
    let much = json!(["{{ input.ascii | upper | length }}", "{{ input.n }}"]);
    let template = Template::parse(&much, "").unwrap();
    let error = template.render(&scope(), &Allowance::in_place()).unwrap_err();
    assert_eq!(error.cause, Cause::NotInPlace, "{error}");
    assert_eq!(template.render(&scope(), &Allowance::whole()), Ok(json!([BYTES, -1])));
    // Many strings that are small each.
    let many = json!(vec!["{{ range(1000) | list | length }}"; 200]);
    let template = Template::parse(&many, "").unwrap();
    let error = template.render(&scope(), &Allowance::in_place()).unwrap_err();
    assert_eq!(error.cause, Cause::NotInPlace, "{error}");
    // One that copies much.
    let copies = json!("{% for i in range(9) %}{% if input.ascii %}{% endif %}{% endfor %}");
    let template = Template::parse(&copies, "").unwrap();
    let error = template.render(&scope(), &Allowance::in_place()).unwrap_err();
    assert_eq!(error.cause, Cause::NotInPlace, "{error}");
    // One that is wrong is so with any allowance, and small ones are not in the way.
    let wrong = Template::parse(&json!("{{ input.n + 'x' }}"), "").unwrap();
    assert_eq!(wrong.render(&scope(), &Allowance::in_place()).unwrap_err().cause, Cause::Failed);
    let small = Template::parse(&json!(["{{ input.n }}", "a {{ input.n < 3 }}"]), "").unwrap();
    assert_eq!(small.render(&scope(), &Allowance::in_place()), Ok(json!([-1, "a true"])));
}

#[test]
fn evaluations_with_one_allowance_share_what_there_is() {
    let cause = |source: &str, allowance: &Allowance| {
        let condition = Condition::parse(source, "").unwrap();
        condition.holds(&scope(), allowance).err().map(|error| error.cause)
    };
    let (some, little) = ("range(1000) | list | length == 1000", "input.n < 3");
    let shared = Allowance::in_place();
    let alone = (0..200).find_map(|_| cause(some, &Allowance::in_place()));
    let together = (0..200).find_map(|_| cause(some, &shared));
    assert_eq!((alone, together), (None, Some(Cause::NotInPlace)));
    assert_eq!(cause(little, &shared), Some(Cause::NotInPlace));
    // One that takes all at once.
    let taken = Allowance::in_place();
    assert_eq!(cause(little, &taken), None);
    assert_eq!(cause("input.ascii | upper | length == 0", &taken), Some(Cause::NotInPlace));
    assert_eq!(cause(little, &taken), Some(Cause::NotInPlace));
}

#[test]
fn an_evaluation_ends_when_its_time_is_over_or_it_is_told_to_stop() {
    let one = "{{ input.ascii | upper | length }}";
    let template = Template::parse(&json!([one, one]), "").unwrap();
    let condition = Condition::parse("input.ascii | upper == input.same", "").unwrap();
    let late = Allowance::whole().until(Instant::now());
    let stopped = Allowance::whole().unless(Arc::new(AtomicBool::new(true)));
    for (allowance, cause) in [(late, Cause::Deadline), (stopped, Cause::Stopped)] {
        assert_eq!(template.render(&scope(), &allowance).unwrap_err().cause, cause);
        assert_eq!(condition.holds(&scope(), &allowance).unwrap_err().cause, cause);
    }
}
