//! What is undefined fails, unless something says what holds then.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Allowance, Scope, Template};

fn render(source: &str) -> Result<Value, String> {
    let scope = Scope {
        input: Arc::new(json!({
            "n": 3, "name": "Ada", "list": [1, 2, 3], "object": {"b": 1}, "secret": "hunter2",
        })),
        nodes: [("a".into(), Arc::new(json!({"status": 200})))].into(),
        ..Scope::default()
    };
    let template = Template::parse(&json!(source), "/x").map_err(|it| format!("{it:?}"))?;
    template.render(&scope, &Allowance::whole()).map_err(|error| error.message)
}

#[test]
fn what_is_missing_on_the_way_to_a_default_is_no_failure() {
    for (source, value) in [
        ("{{ nodes.b.error.message | default('none') }}", json!("none")),
        ("{{ nodes.b['error']['message'] | default('none') }}", json!("none")),
        ("{{ nodes.b.list[0].x[1].y | d('none') }}", json!("none")),
        ("{{ nodes.b\n  .error\n  [0]\n  .x\n | default('none') }}", json!("none")),
        ("{{ input.missing.x.y | default(nodes.b.x.y | default(input.n)) }}", json!(3)),
        (
            "{{ input.missing | default(nodes.b.error.message) | default(nodes.a.status) }}",
            json!(200),
        ),
        ("{{ input.name | default(nodes.b.error.message) }}", json!("Ada")),
        ("{{ input.list[input.n - 1] | default(0) }}", json!(3)),
        ("{{ input.list[input.n].x | default(input.list[input.list[0]]) }}", json!(2)),
        ("{{ input.n.x.y | default('none') }}", json!("none")),
        ("{{ nodes.b.x.y is defined }}", json!(false)),
        ("{{ nodes.b.x.y is not defined and nodes.a.status is defined }}", json!(true)),
        ("x {{ nodes.b.x.y | default('none') }}", json!("x none")),
        ("{% if nodes.b.x.y is defined %}a{% else %}b{% endif %}", json!("b")),
        (
            "{% for x in nodes.b.x.y | default([1]) %}{{ x.a.b | default(x) }}{% endfor %}",
            json!("1"),
        ),
    ] {
        assert_eq!(render(source), Ok(value), "{source}");
    }
}

#[test]
fn what_is_undefined_fails_all_the_same_where_no_default_stands_for_it() {
    for (source, message) in [
        ("{{ input.missing | default(nodes.b.error.message) }}", "not defined"),
        ("x {{ nodes.b.x | default(input.missing) }}", "not defined"),
        // What is done with a value before there is a default must be possible.
        ("{{ nodes.b.x | upper | default('none') }}", "`nodes.b` is not defined"),
        ("{{ (nodes.b.x + 1) | default(0) }}", "`nodes.b` is not defined"),
        ("{{ input[nodes.b.x] | default(0) }}", "`nodes.b` is not defined"),
        ("{{ input.list[nodes.b.x].y | default(0) }}", "`nodes.b` is not defined"),
        ("{{ (nodes.b.x | default(1)) + nodes.b.x }}", "`nodes.b` is not defined"),
        (
            "{{ [input.list[0], input.missing.x, input.list[0] | default(1)] }}",
            "`input.missing` is",
        ),
        ("{{ input.list[0] + input.missing[0] }}", "`input.missing` is not defined"),
    ] {
        let error = render(source).expect_err(source);
        assert!(error.contains(message), "{source}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("__"), "{source}: {error}");
    }
}

#[test]
fn names_of_what_there_is_are_few_and_short() {
    let names = (0..1_000).map(|n| (format!("name{n}\n{}", "x".repeat(1_000)), json!("secret")));
    let input = Value::Object(names.collect());
    let scope = Scope { input: Arc::new(input), ..Scope::default() };
    let template = Template::parse(&json!("{{ input.missing }}"), "").unwrap();
    let error = template.render(&scope, &Allowance::whole()).unwrap_err().message;
    assert!(error.len() < 1_000 && error.contains("and 992 more"), "{error}");
    assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
}
