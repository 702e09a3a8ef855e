//! What expressions yield, and how their errors read.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::analysis::KEYWORDS;
use super::{Allowance, Condition, Root, Scope, Template};
use crate::domain::limits::JSON_DEPTH_MAX;

fn scope() -> Scope {
    Scope {
        input: Arc::new(json!({
            "n": 3, "price": 1.5, "big": u64::MAX, "low": i64::MIN, "whole": 2.0, "name": "Ada",
            "none": null, "yes": true, "list": [1, 2, 3], "object": {"b": 1, "a": [true, "x"]},
            "secret": "hunter2",
        })),
        run: Arc::new(json!({"id": "r1"})),
        nodes: [("a".into(), Arc::new(json!({"items": [{"t": "x"}, {"t": "y"}], "status": 200})))]
            .into(),
        args: None,
    }
}

fn render(source: &str) -> Result<Value, String> {
    let template = Template::parse(&json!(source), "/params/value").map_err(|diagnostics| {
        diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect::<Vec<_>>().join("; ")
    })?;
    template.render(&scope(), &Allowance::whole()).map_err(|error| error.message)
}

fn holds(source: &str) -> Result<bool, String> {
    let condition =
        Condition::parse(source, "/when").map_err(|diagnostics| diagnostics[0].message.clone())?;
    condition.holds(&scope(), &Allowance::whole()).map_err(|error| error.message)
}

/// What is around an expression counts like what it yields: each of a chain of nodes could add to the output of the one
/// before.
#[test]
fn a_result_nests_no_deeper_than_an_output_may() {
    let deep = |levels: usize, inner: Value| (0..levels).fold(inner, |inner, _| json!([inner]));
    let scope =
        Scope { input: Arc::new(json!({ "deep": deep(40, json!(1)) })), ..Scope::default() };
    let rendered = |template: &Template| {
        template.render(&scope, &Allowance::whole()).map_err(|error| error.message)
    };
    let refused = Err(format!("the result nests deeper than {JSON_DEPTH_MAX} levels"));
    for source in
        ["{{ input.deep }}", "{{ [input.deep][0] }}", "{{ input.deep | tojson | fromjson }}"]
    {
        let around = |levels| Template::parse(&deep(levels, json!(source)), "").unwrap();
        assert_eq!(rendered(&around(24)), Ok(deep(JSON_DEPTH_MAX, json!(1))), "{source}");
        assert_eq!(rendered(&around(25)), refused, "{source}");
        // Each parameter may nest as deep as an output.
        let parameter = |levels| Template::object(vec![("value".to_owned(), around(levels))]);
        assert_eq!(rendered(&parameter(24)).map(|it| it["value"].clone()), rendered(&around(24)));
        assert_eq!(rendered(&parameter(25)), refused, "{source}");
    }
    let lists =
        |levels: usize| format!("{{{{ {}input.deep{} }}}}", "[".repeat(levels), "]".repeat(levels));
    let expression = |levels| Template::parse(&json!(lists(levels)), "").unwrap();
    assert_eq!(rendered(&expression(24)), Ok(deep(JSON_DEPTH_MAX, json!(1))));
    assert_eq!(rendered(&expression(25)), refused);
    let constant_beside = json!([deep(JSON_DEPTH_MAX, json!(1)), "{{ input.deep }}"]);
    assert_eq!(rendered(&Template::parse(&constant_beside, "").unwrap()), refused);
}

/// Versions that were published with such names are still run.
#[test]
fn a_loops_variable_may_have_any_name_that_is_no_root() {
    let source = "{% for __budget, __x in [[1, 2]] %}{{ __budget + __x }}{% endfor %}";
    assert_eq!(render(source), Ok(json!("3")));
}

#[test]
fn a_lone_expression_keeps_its_type() {
    for (source, value) in [
        ("{{ input.n }}", json!(3)),
        ("{{input.n}}", json!(3)),
        ("{{- input.n -}}", json!(3)),
        ("{{ input.n }}\n", json!(3)),
        ("{{ input.price }}", json!(1.5)),
        ("{{ input.whole }}", json!(2.0)),
        ("{{ input.big }}", json!(u64::MAX)),
        ("{{ input.low }}", json!(i64::MIN)),
        ("{{ input.none }}", json!(null)),
        ("{{ input.yes }}", json!(true)),
        ("{{ input.list }}", json!([1, 2, 3])),
        ("{{ input.object }}", json!({"b": 1, "a": [true, "x"]})),
        ("{{ input.object.a[-1] }}", json!("x")),
        ("{{ input['object']['a'][0] }}", json!(true)),
        ("{{ input.list[1:] }}", json!([2, 3])),
        ("{{ input.n * input.price }}", json!(4.5)),
        ("{{ 2 * (input.n + 1) * 2 ** 2 }}", json!(32)),
        ("{{ -input.n * -2 }}", json!(6)),
        ("{{ input.list | length * 2 }}", json!(6)),
        ("{{ [input.n, 'x', {'k': none}] }}", json!([3, "x", {"k": null}])),
        ("{{ input.list + [4] }}", json!([1, 2, 3, 4])),
        ("{{ input.n if input.yes else 0 }}", json!(3)),
        ("{{ 'a' ~ input.n }}", json!("a3")),
        ("{{ '{{ not a tag }}' }}", json!("{{ not a tag }}")),
        ("{{ nodes.a['items'] | map(attribute='t') | list }}", json!(["x", "y"])),
        ("{{ nodes.a['items'] | map(attribute='t') | join(',') }}", json!("x,y")),
        ("{{ input.object | items | list }}", json!([["b", 1], ["a", [true, "x"]]])),
        ("{{ input.missing is defined }}", json!(false)),
        ("{{ input.missing | default('d') }}", json!("d")),
        ("{{ nodes.b is defined and nodes.b.x == 1 }}", json!(false)),
        ("{{ input.list | tojson }}", json!("[1,2,3]")),
        ("{{ '{\"a\": [1, 2.5]}' | fromjson }}", json!({"a": [1, 2.5]})),
        ("{{ range(3) }}", json!([0, 1, 2])),
        ("{{ range(5, 0, -2) }}", json!([5, 3, 1])),
        ("{{ 'a b/ä' | urlencode }}", json!("a%20b%2F%C3%A4")),
        ("{{ {'q': 'a b', 'n': 1} | urlencode }}", json!("q=a%20b&n=1")),
        ("{{ 'abc' | sha256 | truncate(4) }}", json!("ba78…")),
        ("{{ input.list | batch(2) }}", json!([[1, 2], [3]])),
        ("{{ input.object.a | map('string') | list }}", json!(["true", "x"])),
        ("{{ run.id }}", json!("r1")),
    ] {
        assert_eq!(render(source), Ok(value), "{source}");
    }
}

#[test]
fn anything_else_is_text() {
    for (source, text) in [
        ("no expression", "no expression"),
        ("Hello {{ input.name }}!", "Hello Ada!"),
        (" {{ input.n }}", " 3"),
        ("{{ input.n }}{{ input.n }}", "33"),
        (
            "{{ input.list }} {{ input.none }} {{ input.yes }} {{ input.whole }}",
            "[1,2,3] null true 2.0",
        ),
        ("v={{ input.object }}", r#"v={"b":1,"a":[true,"x"]}"#),
        ("{% for x in nodes.a['items'] %}{{ loop.index }}{{ x.t }} {% endfor %}", "1x 2y "),
        ("{% if input.n > 2 %}many{% else %}few{% endif %}\n", "many\n"),
        ("a{# a comment with {{ input.missing }} #}b", "ab"),
        ("{% for index in input.list %}{{ index * 2 }}{% endfor %}", "246"),
        ("<{{ '<b>&' }}>", "<<b>&>"),
    ] {
        assert_eq!(render(source), Ok(json!(text)), "{source}");
    }
}

#[test]
fn text_stays_text_where_text_is_asked_for() {
    let template = Template::parse_text("{{ input.n }}", "/url").unwrap();
    assert_eq!(template.render(&scope(), &Allowance::whole()), Ok(json!("3")));
}

#[test]
fn what_is_undefined_fails_and_is_named() {
    for (source, message) in [
        (
            "{{ input.nmae }}",
            "`input.nmae` is not defined; `input` has name, n, price, big, low, whole, none, yes and 3 more",
        ),
        ("{{ input.missing.deeper }}", "`input.missing` is not defined; `input` has n, price"),
        ("{{ input.object.c }}", "`input.object.c` is not defined; `input.object` has b, a"),
        ("{{ input['object']['c'] }}", "is not defined; `input['object']` has b, a"),
        (
            "{{ input.list[7] }}",
            "`input.list[7]` is not defined; `input.list` is a list with 3 items",
        ),
        ("{{ input.list.length }}", "`input.list` is a list with 3 items"),
        ("{{ input.name.x }}", "`input.name.x` is not defined; `input.name` is text"),
        ("{{ input.none.x.y }}", "`input.none.x` is not defined; `input.none` is none"),
        ("{{ nodes.a['items'][0].u }}", "is not defined; `nodes.a"),
        ("x {{ input.missing }}", "`input.missing` is not defined; `input` has n"),
        ("{{ input.missing | upper }}", "`input.missing` is not defined; `input` has n"),
        ("{% for x in input.list %}{{ x.y }}{% endfor %}", "`x.y` is not defined (line 1, column"),
        ("{{ nodes.b }}", "`nodes.b` is not defined: the node was skipped"),
        ("{{ nodes.b.x }}", "`nodes.b` is not defined: the node was skipped"),
        ("{{ run.foo }}", "`run.foo` is not defined; `run` has id"),
        ("{{ [input.missing] }}", "undefined"),
        ("{{ input.missing + 1 }}", "undefined"),
        ("{{ input.n if false }}", "not defined"),
    ] {
        let error = render(source).unwrap_err();
        assert!(error.contains(message), "{source}: {error}");
    }
}

#[test]
fn errors_name_line_and_column_and_never_a_value() {
    for (source, location) in [
        ("{{ input.secret + 1 }}", "line 1, column 4"),
        ("{{ input.secret | int }}", "line 1, column"),
        ("{{ 2 * input.n * input.secret }}", "line 1, column 4"),
        ("{{ input.secret | fromjson }}", "line 1, column"),
        (
            "{{ input.secret | tojson | fromjson | map(attribute='x') | list }}",
            "something undefined",
        ),
        ("a\nb {{ input.secret - 1 }}", "line 2, column 6"),
        ("{{ 10 ** 30 * 100 }}", ""),
        ("{{ [input.secret] | map(input.secret) | list }}", "line 1"),
        ("{{ input[input.secret].x }}", "line 1"),
        ("{{ input.secret.foo() }}", "line 1"),
        ("{{ input.object.secret }}", "`input.object` has b, a"),
        ("{{ input.secret() }}", "line 1"),
    ] {
        let error = render(source).unwrap_err();
        assert!(error.contains(location), "{source}: {error}");
        assert!(!error.contains("hunter2"), "{source}: {error}");
        assert!(!error.contains("__"), "{source}: {error}");
    }
    assert!(render("{{ 1 / 0 }}").is_err());
    assert!(
        !format!("{:?}", Template::parse(&json!("{{ input.n }}"), "").unwrap()).contains("hunter2")
    );
}

#[test]
fn a_diagnostic_says_what_would_be_right() {
    for (source, message, hint) in [
        ("{{ nodes }}", "`nodes` without the id of a node", "nodes.<id>"),
        ("{{ nodes['a'].x }}", "`nodes` without the id", "nodes.<id>"),
        ("{{ nodes[input.n] }}", "`nodes` without the id", "nodes.<id>"),
        ("{{ [1, nodes | length] }}", "`nodes` without the id", "nodes.<id>"),
        ("{{ secrets.key }}", "`secrets` cannot be used", "not available in this version"),
        ("{{ secrets[1:2] }}", "`secrets` cannot be used", "not available in this version"),
        ("{{ item }}", "`item` has no meaning here", "only inside a map"),
        ("{{ index + 1 }}", "`index` has no meaning here", "only inside a map"),
        ("{{ inptu.x }}", "unknown variable `inptu`", "did you mean `input`?"),
        ("{{ foo }}", "unknown variable `foo`", "`input`, `run` or `nodes.<id>`"),
        ("{{ {a: 1} }}", "unknown variable `a`", ""),
        ("{{ input.x | uper }}", "unknown filter `uper`", "did you mean `upper`?"),
        ("{{ input.x is define }}", "unknown test `define`", "did you mean `defined`?"),
        ("{{ input.x is not evn }}", "unknown test `evn`", "did you mean `even`?"),
        ("{% set x = 1 %}", "`{% set %}` is not available", "transform"),
        ("{% for nodes in input.x %}{% endfor %}", "`nodes` cannot be a loop's variable", ""),
        ("{{ input. }}", "syntax error", ""),
        ("{{ input", "`{{` has no `}}`", ""),
        ("text {{ (1 + }}", "`{{` has no `}}`", ""),
        ("{{ 'open }}", "a string has no closing quote", ""),
        ("{{ f(*input.x) }}", "unpacking", ""),
        ("{% if input.x %}", "syntax error", ""),
    ] {
        let diagnostics = Template::parse(&json!({"k": [source]}), "/nodes/0/params").unwrap_err();
        assert_eq!(diagnostics[0].pointer, "/nodes/0/params/k/0", "{source}");
        let found = diagnostics.iter().find(|diagnostic| diagnostic.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{source}: {diagnostics:?}"));
        assert!(found.hint.contains(hint), "{source}: {found:?}");
    }
    let diagnostics = Template::parse(&json!({"{{ input.n }}": 1}), "").unwrap_err();
    assert!(diagnostics[0].message.contains("keys"));
    let many = Value::from(vec!["{{ input.n }}"; super::DYNAMIC_STRINGS_MAX + 1]);
    assert!(
        Template::parse(&many, "").unwrap_err()[0].message.contains("strings with expressions")
    );
}

#[test]
fn references_are_found_wherever_they_hide() {
    let template = Template::parse(
        &json!([
            "{{ nodes.a.x[1:2] }} {{ input.list }}",
            "{{ nodes.b[nodes.c.i:].y }}",
            "{{ input.x is in nodes.d }}",
            "{{ input.x | default(nodes.e) }}",
            "{% for x in nodes.f if x > nodes.g %}{{ x }}{% endfor %}",
            "{{ f.nodes.h }}".replace('f', "run"),
            "{{ 'nodes.i' }} {# nodes.j #}",
            {"k": "{{ {'a': nodes.k}[nodes.l] }}"},
        ]),
        "",
    )
    .unwrap();
    let nodes: Vec<&str> = template.references().nodes.iter().map(|node| &**node).collect();
    assert_eq!(nodes, ["a", "b", "c", "d", "e", "f", "g", "k", "l"]);
    assert!(template.references().input && template.references().run);
    let read = &template.references().reads[2];
    let found = (&read.root, &*read.pointer, read.offset);
    assert_eq!(found, (&Root::Node("b".into()), "/1", 3), "{read:?}");
}

#[test]
fn constants_are_not_compiled() {
    let value = json!({"a": [1, "x", {"b": null}], "c": "{ } %} }}"});
    let template = Template::parse(&value, "").unwrap();
    assert!(template.is_constant());
    assert_eq!(template.render(&Scope::default(), &Allowance::whole()), Ok(value));
    let template = Template::constant(json!("{{ not an expression }}"));
    assert_eq!(
        template.render(&Scope::default(), &Allowance::whole()),
        Ok(json!("{{ not an expression }}"))
    );
}

#[test]
fn a_condition_yields_true_or_false_and_nothing_else() {
    assert_eq!(holds("{{ input.n == 3 }}"), Ok(true));
    assert_eq!(holds("input.n > 3 or not input.yes"), Ok(false));
    assert_eq!(holds("nodes.a.status in [200, 201]"), Ok(true));
    assert_eq!(holds("'{' in input.name"), Ok(false));
    assert_eq!(holds("true"), Ok(true));
    for (source, message) in [
        ("input.n", "yields a number"),
        ("input.name", "yields a string"),
        ("input.none", "yields a none"),
        ("input.missing", "`input.missing` is not defined; `input` has n"),
        ("", "empty"),
        ("a {{ input.yes }}", "text where an expression is due"),
        ("input.yes) or (true", "syntax error"),
    ] {
        let error = holds(source).unwrap_err();
        assert!(error.contains(message), "{source}: {error}");
    }
}

#[test]
fn a_choice_stops_at_the_first_condition_that_holds() {
    let branch = |name: &str, when: &str| (name.into(), Condition::parse(when, "").unwrap());
    let choose = |when: &str, default: Option<&str>| {
        let branches = vec![branch("low", when), branch("bad", "input.missing")];
        let choice = super::Choice { branches, default: default.map(Into::into) };
        Template::choice(choice).render(&scope(), &Allowance::whole())
    };
    assert_eq!(choose("input.n < 5", None), Ok(json!("low")));
    assert!(choose("input.n > 5", Some("high")).is_err());
    let branches = vec![branch("low", "input.n > 5")];
    let choice = super::Choice { branches, default: Some("high".into()) };
    assert_eq!(Template::choice(choice).render(&scope(), &Allowance::whole()), Ok(json!("high")));
}

#[test]
fn the_whole_tree_shares_one_size_limit() {
    let half = "x".repeat(600_000);
    let scope = Scope { input: Arc::new(json!({ "half": half })), ..Scope::default() };
    let render =
        |value: Value| Template::parse(&value, "").unwrap().render(&scope, &Allowance::whole());
    assert!(render(json!(["{{ input.half }}"])).is_ok());
    assert!(render(json!(["{{ input.half }}", "{{ input.half }}"])).is_err());
    assert!(render(json!(["{{ input.half }}", "a {{ input.half }}"])).is_err());
    assert!(render(json!(["{{ input.half }}", half])).is_err());
}

#[test]
fn the_lists_of_filters_and_tests_say_what_there_is() {
    use super::allowance::Effort;
    use super::builtins::{FILTERS, TESTS};
    use super::engine::environment;
    let kind = |source: String| {
        let expression = environment(Effort::Whole).compile_expression_owned(source).unwrap();
        expression.eval(()).err().map(|error| error.kind())
    };
    for (name, _) in FILTERS {
        assert_ne!(
            kind(format!("'x' | {name}")),
            Some(minijinja::ErrorKind::UnknownFilter),
            "{name}"
        );
    }
    for (name, _) in TESTS.iter().filter(|(name, _)| name.starts_with(char::is_alphabetic)) {
        assert_ne!(
            kind(format!("1 is {name}(1)")),
            Some(minijinja::ErrorKind::UnknownTest),
            "{name}"
        );
    }
    for name in ["pprint", "safe", "zip", "chain", "slice", "attr", "escape"] {
        assert_eq!(
            kind(format!("'x' | {name}")),
            Some(minijinja::ErrorKind::UnknownFilter),
            "{name}"
        );
    }
}

#[test]
fn values_that_have_no_order_are_not_ordered() {
    for (source, what) in [
        ("{{ '3' > 5 }}", "string and number"),
        ("{{ input.name > input.n }}", "string and number"),
        ("{{ input.none < 5 }}", "none and number"),
        ("{{ input.none <= input.none }}", "none and none"),
        ("{{ input.yes >= 0 }}", "bool and number"),
        ("{{ input.object < input.object }}", "map and map"),
        ("{{ input.list < input.n }}", "sequence and number"),
        ("{{ [1, 'a'] < [1, 2] }}", "string and number"),
        ("{{ 1 < input.n < 'z' }}", "number and string"),
        ("{{ 1 if input.n < 'z' else 2 }}", "number and string"),
        ("{{ not (input.n + 1) * 2 < input.name ~ 'x' }}", "number and string"),
        ("{{ input.name is lt 5 }}", "string and number"),
        ("{{ input.name is ge(5) }}", "string and number"),
        ("{{ [1, 'x'] | select('gt', 0) | list }}", "string and number"),
        ("{{ [{'n': 1}, {'n': none}] | selectattr('n', '<=', 3) | list }}", "none and number"),
        ("{{ [3, '2', 1] | sort }}", "number and string"),
        ("{{ [3, none] | max }}", "number and none"),
        ("{{ [true, 0] | min }}", "bool and number"),
        ("{{ [{'n': 1}, {'n': '0'}] | sort(attribute='n') }}", "number and string"),
        ("{{ [{'n': 1}, {'m': 1}] | min(attribute='n') }}", "number and undefined"),
        ("{{ [[1, 2], [1, 'x']] | sort }}", "number and string"),
        ("{{ [{'a': 1}, {'a': 2}] | max }}", "map and map"),
        ("{{ {'a': 1, 'b': 'x'} | dictsort(by='value') }}", "number and string"),
        ("{% if input.n > 'z' %}x{% endif %}", "number and string"),
        ("{% for x in input.list if x > 'z' %}x{% endfor %}", "number and string"),
    ] {
        let error = render(source).expect_err(source);
        assert!(error.contains(what), "{source}: {error}");
    }
    assert!(holds("input.name > 5").is_err());
    // A document that says so is one that could be published once: its runs fail, and their plans can be read.
    assert!(Template::parse(&json!("{{ '3' > 5 }}"), "").is_ok());
    let error = render("{{ '3' > 5 }}").unwrap_err();
    assert!(error.contains("(line 1, column "), "{error}");
}

#[test]
fn values_that_have_an_order_are_ordered_and_any_two_can_be_distinguished() {
    for (source, expected) in [
        ("{{ input.n > 2.5 and input.price < 2 and input.big > input.low }}", json!(true)),
        ("{{ 'a' < 'b' <= 'b' < 'c' }}", json!(true)),
        ("{{ 1 < input.n < 3 }}", json!(false)),
        ("{{ 4 > input.n > 2 > 1 }}", json!(true)),
        ("{{ 1 < 2 == 2 < input.n }}", json!(true)),
        ("{{ input.n < 3 < input.missing }}", json!(false)),
        ("{{ (1 < input.n) == (2 < 5) }}", json!(true)),
        ("{{ input.n in input.list in [[1, 2, 3]] }}", json!(true)),
        ("{{ 7 not in input.list != 4 }}", json!(true)),
        ("{{ 1 + 1 < input.n * 2 - 1 }}", json!(true)),
        ("{{ not input.n < 3 }}", json!(true)),
        ("{{ -input.n < -2 }}", json!(true)),
        ("{{ input.n < 4 if input.n > 2 else 'x' }}", json!(true)),
        ("{{ [1, 2] < [1, 3] and [1] < [1, 0] and [none, 1] < [none, 2] }}", json!(true)),
        ("{{ false < true }}", json!(true)),
        ("{{ '3' == 3 or input.none == 0 or input.list == 'x' }}", json!(false)),
        ("{{ '3' != 3 and input.none != 0 and input.object != input.list }}", json!(true)),
        ("{{ 3 == 3.0 and input.list == [1, 2, 3.0] }}", json!(true)),
        ("{{ input.object == {'a': [true, 'x'], 'b': 1} }}", json!(true)),
        ("{{ input.object == {'a': [true, 'y'], 'b': 1} }}", json!(false)),
        ("{{ 5 in 'a5' and 'd' in input.name and 'a' in input.object }}", json!(true)),
        ("{{ [3, 1.5, 2] | sort }}", json!([1.5, 2, 3])),
        ("{{ ['b', 'A'] | sort }}", json!(["A", "b"])),
        ("{{ [[2, 'a'], [1, 'b']] | sort }}", json!([[1, "b"], [2, "a"]])),
        ("{{ [3, 1.5] | max }}", json!(3)),
        ("{{ [1, 'a', 1] | unique | list }}", json!([1, "a"])),
        ("{{ [1, 2, 3] | select('gt', 1) | list }}", json!([2, 3])),
        ("{{ input.list | map('string') | map('upper') | join('-') }}", json!("1-2-3")),
    ] {
        assert_eq!(render(source), Ok(expected), "{source}");
    }
}

proptest! {
    #[test]
    fn no_source_panics(source in "[-+*/%|~.,:=<>!(){}\\[\\]'\"#a-c0-9 \\\\]{0,40}") {
        for text in [source.clone(), format!("{{{{ {source} }}}}"), format!("{{% {source} %}}")] {
            if let Ok(template) = Template::parse(&json!(text), "") {
                let _ = template.render(&scope(), &Allowance::whole());
            }
        }
        if let Ok(condition) = Condition::parse(&source, "") {
            let _ = condition.holds(&scope(), &Allowance::whole());
        }
    }

    #[test]
    fn every_variable_that_minijinja_finds_is_found(source in expressions()) {
        let environment = super::engine::environment(super::allowance::Effort::Whole);
        let Ok(expression) = environment.compile_expression(&source) else { return Ok(()) };
        let Ok(template) = Template::parse(&json!(format!("{{{{ {source} }}}}")), "") else { return Ok(()) };
        for name in expression.undeclared_variables(true) {
            let mut steps = name.split('.');
            match (steps.next(), steps.next()) {
                (Some("nodes"), Some(node)) => prop_assert!(template.references().nodes.contains(node), "{source}"),
                (Some("input"), _) => prop_assert!(template.references().input, "{source}"),
                (Some("run"), _) => prop_assert!(template.references().run, "{source}"),
                // `-not(1)` calls something named `not`, which there is not: it fails when it runs.
                (root, _) => {
                    let root = root.unwrap_or_default();
                    prop_assert!(root == "range" || KEYWORDS.contains(&root), "{source}");
                }
            }
        }
    }

    #[test]
    fn operators_of_values_that_have_an_order_mean_what_they_mean_to_minijinja(source in comparisons()) {
        let environment = minijinja::Environment::new();
        let expected = environment.compile_expression(&source).unwrap().eval(
            minijinja::Value::from(minijinja::value::Serde(json!({"input": &*scope().input}))),
        );
        match render(&format!("{{{{ {source} }}}}")) {
            Ok(value) => prop_assert_eq!(minijinja::Value::from(minijinja::value::Serde(value)), expected.unwrap(), "{}", source),
            // `true < 1` has a meaning to minijinja.
            Err(error) => prop_assert!(error.contains("unsupported types"), "{source}: {error}"),
        }
    }

    #[test]
    fn json_goes_through_unchanged(value in json_values()) {
        let scope = Scope { input: Arc::new(json!({"v": value})), ..Scope::default() };
        let template = Template::parse(&json!("{{ input.v }}"), "").unwrap();
        prop_assert_eq!(template.render(&scope, &Allowance::whole()), Ok(value.clone()));
        let template = Template::parse(&json!("{{ [input.v, input.v | tojson | fromjson] }}"), "").unwrap();
        prop_assert_eq!(template.render(&scope, &Allowance::whole()), Ok(json!([value, value])));
    }
}

/// Sources from the grammar: most of them parse.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "nodes.a",
        "nodes.b.c",
        "input",
        "input.x",
        "run.id",
        "1",
        "1.5",
        "'nodes.z'",
        "true",
        "nodes",
        "foo",
        "nodes.a[0]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (
                pair.clone(),
                prop::sample::select(vec!["+", "*", "~", "and", "==", "in", "not in", "**", "//"])
            )
                .prop_map(|((a, b), op)| format!("{a} {op} {b}")),
            pair.clone().prop_map(|(a, b)| format!("({a})[{b}:{b}]")),
            pair.clone().prop_map(|(a, b)| format!("[{a}, {{'k': {b}}}]")),
            pair.clone().prop_map(|(a, b)| format!("{a} | default({b})")),
            pair.clone().prop_map(|(a, b)| format!("({a} if {b} else {a})")),
            pair.prop_map(|(a, b)| format!("({a} is eq {b})")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("{a} is not defined")),
            inner.prop_map(|a| format!("range({a}) | map(attribute='nodes') | join(d={a})")),
        ]
    })
}

/// Comparisons in chains, nested, and among operators that bind tighter and looser.
fn comparisons() -> impl Strategy<Value = String> {
    let number =
        prop::sample::select(vec!["1", "2", "3", "2.5", "input.n", "input.price", "-input.n"]);
    let compare = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let sum =
        (number.clone(), prop::sample::select(vec!["+", "-", "*", "**", "//"]), number.clone());
    let operand = prop_oneof![
        3 => number.clone().prop_map(str::to_owned),
        1 => sum.prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => number.clone().prop_map(|a| format!("[3, {a}, 1][1]")),
        1 => number.prop_map(|a| format!("input.list | length + {a}")),
    ];
    let chain = (operand.clone(), prop::collection::vec((compare, operand.clone()), 1..4))
        .prop_map(|(first, rest)| {
            rest.into_iter().fold(first, |chain, (op, operand)| format!("{chain} {op} {operand}"))
        });
    chain.prop_recursive(4, 16, 3, move |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), prop::sample::select(vec!["and", "or", "==", "!="]))
                .prop_map(|((a, b), op)| format!("({a}) {op} {b}")),
            pair.clone().prop_map(|(a, b)| format!("{a} and {b}")),
            (pair.clone(), operand.clone())
                .prop_map(|((a, b), c)| format!("({c} if {a} else 2) < 3 or {b}")),
            pair.prop_map(|(a, b)| format!("({a}) in [{b}, true]")),
            inner.clone().prop_map(|a| format!("(not {a})")),
            (inner, operand.clone()).prop_map(|(a, c)| format!("{c} not in [1, 2] == ({a})")),
        ]
    })
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15_f64..1e15).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z~/ ]{0,6}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
