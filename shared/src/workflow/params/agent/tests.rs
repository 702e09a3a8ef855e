use serde_json::{Value, json};

use super::super::compile as compile_params;
use super::*;
use crate::domain::diagnostic::{Diagnostic, Diagnostics};
use crate::domain::kind::NodeKind;
use crate::expression::{Allowance, Scope};

fn compiled(params: &Value) -> Result<crate::workflow::params::NodeParams, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::default();
    let params = compile_params(NodeKind::Agent, params, "", &mut diagnostics);
    if diagnostics.0.is_empty() { Ok(params.unwrap()) } else { Err(diagnostics.0) }
}

fn rendered(params: &Value) -> AgentParams {
    let scope = Scope { input: json!({ "host": "h.example" }).into(), ..Scope::default() };
    let template = compiled(params).unwrap().template;
    AgentParams::read(template.render(&scope, &Allowance::whole()).unwrap()).unwrap()
}

/// A valid agent with everything in it, and one value instead of another.
fn with(pointer: &str, value: Value) -> Value {
    let mut params = json!({
        "goal": "{{ input.goal }}", "model": "m",
        "tools": [
            { "http": {
                "name": "search", "description": "finds", "method": "POST",
                "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
                "url": "https://{{ input.host }}/find/{{ args.q }}", "headers": { "X-Key": "{{ input.key }}" },
                "body": { "q": "{{ args.q }}", "of": "{{ nodes.before.id }}" },
            } },
            { "mcp": { "url": "https://mcp.example/mcp", "headers": { "Authorization": "Bearer {{ input.key }}" },
                       "allow": ["add", "look-up"] } },
        ],
        "limits": { "iterations": 5, "tokens": 1000, "usd": 0.5, "wall": "10m" },
        "approve": ["search", "add"], "approval_timeout": "1h",
    });
    if let Some((parent, token)) = pointer.rsplit_once('/') {
        match params.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[token.parse::<usize>().unwrap()] = value,
            fields => fields[token] = value,
        }
    }
    params
}

#[test]
fn templates_of_tools_stay_unrendered_and_are_read_all_the_same() {
    let params = compiled(&with("", Value::Null)).unwrap();
    assert!(params.template.is_deferred());
    let references = params.template.references();
    assert!(references.input && references.args && references.nodes.contains("before"));
    let scope = Scope {
        input: json!({ "goal": "win", "key": "k" }).into(),
        nodes: [("before".into(), json!({ "id": 7 }).into())].into(),
        ..Scope::default()
    };
    let rendered = params.template.render(&scope, &Allowance::whole()).unwrap();
    let read = AgentParams::read(rendered).unwrap();
    assert_eq!((&*read.goal, read.framework), ("win", Framework::React));
    let [ToolParams::Http(search), ToolParams::Mcp(server)] = &*read.tools else { panic!() };
    assert_eq!(search.url, "https://{{ input.host }}/find/{{ args.q }}");
    assert_eq!(search.body, Some(json!({ "q": "{{ args.q }}", "of": "{{ nodes.before.id }}" })));
    assert_eq!(search.headers.0, [("X-Key".to_owned(), "{{ input.key }}".to_owned())]);
    // A server is the same for all calls.
    assert_eq!(server.headers.0, [("Authorization".to_owned(), "Bearer k".to_owned())]);
    assert_eq!(read.approve, ["search", "add"]);
    assert_eq!(read.limits.max_cost().unwrap().0, 500_000_000);
    assert_eq!(read.limits.wall(), Duration::from_secs(600));
}

#[test]
fn what_is_not_given_has_a_default() {
    let read = rendered(&json!({ "prompt": "p", "model": "m" }));
    assert_eq!((read.limits.iterations, read.limits.wall_ms), (20, 3_600_000));
    assert_eq!((read.max_tokens, read.approval_timeout_ms), (4_096, 86_400_000));
    assert_eq!((read.on_exhausted, read.tools.len(), read.goal.as_str()), (OnLimit::Stop, 0, "p"));
    let http = json!([{ "http": { "name": "a", "description": "d", "url": "https://h/" } }]);
    let read = rendered(&json!({ "goal": "g", "model": "m", "tools": http, "approve": true }));
    assert_eq!(read.approve, ["a"]);
    let ToolParams::Http(tool) = &read.tools[0] else { panic!() };
    assert_eq!(tool.parameters, json!({ "type": "object", "properties": {} }));
}

#[test]
fn an_agent_is_as_safe_to_repeat_as_its_most_harmful_tool() {
    let http = |extra: Value| {
        let mut tool = json!({ "name": "a", "description": "d", "url": "https://h/" });
        tool.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "goal": "g", "model": "m", "tools": [{ "http": tool }] })
    };
    for (params, expected) in [
        (json!({ "goal": "g", "model": "m" }), Effect::Keyed),
        (http(json!({})), Effect::Keyed),
        (http(json!({ "method": "POST" })), Effect::Keyed),
        (http(json!({ "method": "POST", "idempotency_key": false })), Effect::Unsafe),
        (http(json!({ "method": "PUT", "idempotency_key": false })), Effect::Keyed),
        (
            with("/tools/0", json!({ "mcp": { "url": "https://h/", "allow": ["b"] } })),
            Effect::Unsafe,
        ),
    ] {
        assert_eq!(effect(&params), expected, "{params}");
    }
}

#[test]
fn the_model_never_chooses_whom_a_tool_calls() {
    let url = |url: &str| compiled(&with("/tools/0/http/url", json!(url)));
    for safe in [
        "https://h.example/{{ args.q }}",
        "https://h.example?q={{ args.q }}",
        "https://{{ input.host }}:{{ input.port }}/{{ args.q }}",
        "{{ input.base }}/v1/{{ args.q }}?x={{ args.y | urlencode }}",
        "{{ input.scheme }}://{{ input.host }}/{{ args.q }}",
        "https://h.example/{% if args.q is defined %}{{ args.q }}{% endif %}",
    ] {
        assert!(url(safe).is_ok(), "{safe}: {:?}", url(safe));
    }
    for (unsafe_url, at_once) in [
        ("{{ args.url }}", true),
        ("https://{{ args.host }}/", true),
        ("https://h.example{{ args.path }}", true),
        ("https://h.example:{{ args.port }}/", true),
        ("https://{{ args.user }}@h.example/", true),
        ("{{ args.scheme }}://h.example/", true),
        ("{{ input.scheme }}://{{ args.host }}/", true),
        ("{{ input.base }}{{ args.path }}/x", true),
        ("https://{{ 'a/b' }}{{ args.host }}/", true),
        ("https://{# / #}{{ args.host }}/", true),
        ("https://{% if input.x %}/{{ args.host }}{% endif %}/", false),
    ] {
        let diagnostics = url(unsafe_url).unwrap_err();
        let of_url = diagnostics.iter().find(|it| it.pointer == "/tools/0/http/url").unwrap();
        assert!(!at_once || of_url.message.contains("`args`"), "{unsafe_url}: {of_url:?}");
    }
    let keys = compiled(&with("/tools/0/http/headers", json!({ "{{ args.name }}": "x" })));
    assert!(keys.unwrap_err()[0].message.contains("no name of a header"));
}

#[test]
fn arguments_exist_in_tools_only() {
    for (pointer, value) in [
        ("/goal", json!("{{ args.q }}")),
        ("/system", json!("{{ args.q }}")),
        ("/tools/1/mcp/url", json!("https://h/{{ args.q }}")),
        ("/tools/1/mcp/headers", json!({ "X-A": "{{ args.q }}" })),
    ] {
        let diagnostics = compiled(&with(pointer, value)).unwrap_err();
        assert!(diagnostics[0].message.contains("unknown variable `args`"), "{diagnostics:?}");
    }
}
