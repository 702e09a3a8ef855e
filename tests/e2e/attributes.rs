//! The spans of models, agents and tools as a collector gets them: of what succeeds and of what fails.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skein::mock_models::Watch;
use skein_shared::domain::trace::SpanId;
use skein_tests::otlp::{Kind, Span, render};
use skein_tests::stack::{IDENTITY, PATIENCE, Run, Setup, Stack};

use crate::attribute_table::When::{Answered, Chosen, Content, Failed, Named, Seen};
use crate::attribute_table::{KINDS, When, assert_attributes, mismatches};
use crate::ledger::{assert_resolved, named, text};
use crate::played::{SECRET, with_models};
use crate::secrecy::assert_nowhere;

/// What requests say decides what becomes of them; an agent calls its tool first.
const SCRIPT: &str = "\
replies:
  - when: { contains: refuse }
    reply: { status: 400, error: no such thing for sk-wR7pQ2xK9mVtLs4Hn8 }
  - when: { contains: misfit }
    reply: { text: no json, usage: { input_tokens: 20, output_tokens: 5 } }
  - when: { contains: does not fit }
    reply: { text: no json either, usage: { input_tokens: 30, output_tokens: 5 } }
  - when: { contains: count }
    reply: { json: { n: 1 }, usage: { input_tokens: 20, output_tokens: 5, cached_tokens: 4 } }
  - when: { contains: look, turn: 0 }
    reply: { text: let me look, tool_calls: [{ name: look, arguments: { q: a } }], usage: { input_tokens: 40, output_tokens: 6 } }
  - when: { tool_result: look, model: gpt-4o }
    reply: { status: 400, error: no more }
  - when: { tool_result: look }
    reply: { text: seen, usage: { input_tokens: 60, output_tokens: 7 } }
";

/// What stands on calls to models alone: backends sum it up over all spans.
const SUMMED: [&str; 2] = ["gen_ai.usage.", "gen_ai.request."];

/// A workflow, how its run ends, and what holds of its spans: of each, the name, the node, and when its attributes are
/// due.
struct Case {
    document: Value,
    status: &'static str,
    code: Option<&'static str>,
    spans: Vec<(&'static str, &'static str, &'static [When])>,
}

fn ask(id: &str, prompt: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    json!({
        "id": id, "type": "llm",
        "params": {
            "provider": "google", "model": "gemini-2.5-flash", "system": "be brief", "prompt": prompt,
            "schema": schema, "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"],
            "stream": true,
        },
    })
}

fn act(id: &str, model: &str, tool: &str) -> Value {
    let look = json!({
        "name": "look", "description": "looks", "method": "POST", "url": tool, "body": { "q": "{{ args.q }}" },
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
    });
    json!({
        "id": id, "type": "agent",
        "params": { "provider": "openai", "model": model, "goal": "look", "tools": [{ "http": look }] },
    })
}

fn cases(stack: &Stack) -> [Case; 4] {
    let (well, broken) = (stack.outside.url("/look"), stack.outside.url("/status/500"));
    [
        Case {
            document: json!({
                "name": "well", "edges": [{ "from": "ask", "to": "act" }],
                "nodes": [ask("ask", "count"), act("act", "gpt-4o-mini", &well)],
            }),
            status: "succeeded",
            code: None,
            spans: vec![
                ("llm.generate", "ask", &[Seen, Answered, Chosen]),
                ("agent.execute", "act", &[Seen]),
                ("llm.generate", "act", &[Seen, Answered]),
                ("tool.execute", "act", &[Seen, Named]),
                ("llm.generate", "act", &[Seen, Answered]),
            ],
        },
        Case {
            document: json!({ "name": "refused", "nodes": [ask("ask", "refuse")] }),
            status: "failed",
            code: Some("provider_refused"),
            spans: vec![("llm.generate", "ask", &[Seen, Failed, Chosen])],
        },
        // Its calls are answered; it is the node that fails.
        Case {
            document: json!({ "name": "misfit", "nodes": [ask("ask", "misfit")] }),
            status: "failed",
            code: Some("invalid_output"),
            spans: vec![
                ("llm.generate", "ask", &[Seen, Answered, Chosen]),
                ("llm.generate", "ask", &[Seen, Answered, Chosen]),
            ],
        },
        // Its tool fails, which is no failure of the agent, and then its model does.
        Case {
            document: json!({ "name": "disturbed", "nodes": [act("act", "gpt-4o", &broken)] }),
            status: "failed",
            code: Some("provider_refused"),
            spans: vec![
                ("agent.execute", "act", &[Seen, Failed]),
                ("llm.generate", "act", &[Seen, Answered]),
                ("tool.execute", "act", &[Seen, Failed, Named]),
                ("llm.generate", "act", &[Seen, Failed]),
            ],
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attribute_is_there_with_its_type_whether_it_succeeds_or_fails() {
    let setup = Setup::distributed("attributes");
    with_models(SCRIPT, setup, async |stack, watch| hold(stack, watch, false).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attribute_is_there_when_embedded_and_contents_where_they_are_wanted() {
    let setup = Setup::embedded("attributes").env("SKEIN_TELEMETRY_CONTENT", "true");
    with_models(SCRIPT, setup, async |stack, watch| hold(stack, watch, true).await).await;
}

async fn hold(stack: &Stack, watch: &Watch, has_content: bool) {
    assert!(SCRIPT.contains(SECRET), "the provider says the key when it refuses");
    let mut requests = 0;
    for case in cases(stack) {
        stack.client.publish(&case.document).await;
        let name = case.document["name"].as_str().expect("it has a name");
        let run = stack.client.run(name, &json!({})).await;
        assert_eq!(run.status(), case.status, "{:#}", run.0);
        assert_eq!(run.0["error"]["code"].as_str(), case.code, "{:#}", run.0);
        let trace = trace_of(stack, &run, &case).await;
        for ((span, node, holds), found) in case.spans.iter().zip(told(&trace, &run)) {
            let shown = render(&trace);
            assert_eq!((found.name.as_str(), text(found, "node.id")), (*span, *node), "{shown}");
            let mut holds = holds.to_vec();
            holds.extend(has_content.then_some(Content));
            assert_attributes(found, &holds);
            // And would be missed, each of them.
            for key in found.attributes.keys() {
                let mut without = found.clone();
                without.attributes.remove(key);
                assert!(!mismatches(&without, &holds).is_empty(), "nobody misses {key}");
            }
        }
        assert_places(&trace);
        assert_summed_once(&trace);
        assert_values(&trace, &run, case.code);
        requests += named(&trace, &run, "llm.generate").len();
    }
    let seen = watch.requests();
    assert_eq!(seen.len(), requests, "one span for each request");
    let is_shown = |key: &Option<String>| key.as_ref().is_some_and(|key| key.contains(SECRET));
    assert!(seen.iter().all(|it| is_shown(&it.authorization) && it.traceparent.is_some()));
    assert_resolved(stack).await;
    // Nor where a provider has refused it.
    assert_nowhere(stack, SECRET).await;
}

/// The spans of models, agents and tools in the order of their start.
fn told<'a>(trace: &'a [Span], run: &Run) -> Vec<&'a Span> {
    let mut told: Vec<_> = KINDS.iter().flat_map(|(name, _)| named(trace, run, name)).collect();
    told.sort_by_key(|span| (span.start, span.name != "agent.execute"));
    told
}

/// All spans of the run's trace, once it is whole.
async fn trace_of(stack: &Stack, run: &Run, case: &Case) -> Vec<Span> {
    let of_trace = |spans: &[Span]| -> Vec<Span> {
        spans.iter().filter(|span| span.trace_id == run.trace()).cloned().collect()
    };
    let is_whole = |spans: &[Span]| {
        let trace = of_trace(spans);
        let has = |name: &str| trace.iter().any(|span| span.name == name);
        let attempts = trace.iter().filter(|span| span.name.starts_with("node.execute.")).count();
        let is_complete = told(&trace, run).len() >= case.spans.len();
        let is_served = trace.iter().any(|span| span.kind == Kind::Server);
        is_complete && is_served && attempts == run.nodes().len() && has("workflow.execute")
    };
    let spans = stack.collector.wait_for(is_whole, PATIENCE).await;
    let trace = of_trace(&spans.unwrap_or_else(|error| panic!("{error:#}")));
    assert_eq!(told(&trace, run).len(), case.spans.len(), "{}", render(&trace));
    trace
}

/// Each span stands where the contract says: calls below their node or their agent, requests below what made them.
fn assert_places(trace: &[Span]) {
    let by_id: BTreeMap<SpanId, &Span> = trace.iter().map(|span| (span.span_id, span)).collect();
    let parent = |span: &Span| by_id.get(&span.parent?).map(|parent| parent.name.as_str());
    let (mut requests, mut made) = (0, 0);
    for span in trace {
        let places: &[&str] = match (span.name.as_str(), span.kind) {
            ("llm.generate", _) => &["node.execute.llm", "agent.execute"],
            ("tool.execute", _) => &["agent.execute"],
            ("agent.execute", _) => &["node.execute.agent"],
            ("POST", Kind::Client) => &["llm.generate", "tool.execute"],
            (name, _) if name.starts_with("node.execute.") => &["workflow.execute"],
            _ => continue,
        };
        requests += usize::from(span.name == "POST");
        made += usize::from(matches!(span.name.as_str(), "llm.generate" | "tool.execute"));
        let found = parent(span);
        assert!(found.is_some_and(|name| places.contains(&name)), "{found:?}\n{}", render(trace));
    }
    assert_eq!(requests, made, "each call is one request:\n{}", render(trace));
}

/// What backends sum up stands on calls to models alone; of other spans only those of agents and tools say anything about
/// models. And everybody is named on all of them.
fn assert_summed_once(trace: &[Span]) {
    let [organization, workspace, user] = IDENTITY;
    for span in trace {
        let who =
            [("organization.id", organization), ("workspace.id", workspace), ("user.id", user)];
        // A message that led to nothing: what it says of itself, no row has confirmed.
        let is_hearsay = span.attributes.get("workflow.wakeup.claimed") == Some(&json!(false));
        for (key, value) in who.into_iter().filter(|_| !is_hearsay) {
            assert_eq!(text(span, key), value, "{span:#?}");
        }
        assert_eq!(span.repeated, Vec::<String>::new(), "{span:#?}");
        let is_call = span.name == "llm.generate";
        let may_tell = KINDS.iter().any(|(name, _)| *name == span.name);
        for key in span.attributes.keys() {
            let is_summed = SUMMED.iter().any(|prefix| key.starts_with(prefix));
            assert!(is_call || !is_summed, "{key} on {}", span.name);
            let is_ours = key.starts_with("gen_ai.") || key.starts_with("llm.");
            assert!(may_tell || !is_ours, "{key} on {}", span.name);
        }
    }
}

/// What the values are that must agree with each other, and with what was asked and answered.
fn assert_values(trace: &[Span], run: &Run, code: Option<&str>) {
    let of = |span: &Span, key: &str| span.attributes.get(key).cloned().unwrap_or(Value::Null);
    let number = |span: &Span, key: &str| of(span, key).as_i64().unwrap_or_default();
    let calls = named(trace, run, "llm.generate");
    for call in &calls {
        let provider = if text(call, "node.id") == "ask" { "google" } else { "openai" };
        let company = if provider == "google" { "gcp.gemini" } else { provider };
        assert_eq!(text(call, "llm.provider"), provider, "{call:#?}");
        assert_eq!(text(call, "gen_ai.provider.name"), company, "{call:#?}");
        assert_eq!(of(call, "llm.model"), of(call, "gen_ai.request.model"));
        assert_eq!(text(call, "gen_ai.operation.name"), "chat");
        let tokens = number(call, "llm.input_tokens") + number(call, "llm.output_tokens");
        assert_eq!(number(call, "llm.total_tokens"), tokens);
        if of(call, "error.type").is_null() {
            for side in ["input_tokens", "output_tokens"] {
                let counted = number(call, &format!("gen_ai.usage.{side}"));
                assert_eq!(number(call, &format!("llm.{side}")), counted, "{call:#?}");
                assert!(counted > 0, "{call:#?}");
            }
        } else {
            assert_eq!(Some(text(call, "error.type")), code, "{call:#?}");
            assert_eq!(tokens, 0, "nobody has worked on it: {call:#?}");
        }
    }
    for agent in named(trace, run, "agent.execute") {
        let own: Vec<_> = calls.iter().filter(|call| call.parent == Some(agent.span_id)).collect();
        let tokens: i64 = own.iter().map(|call| number(call, "llm.total_tokens")).sum();
        assert_eq!(number(agent, "agent.tokens_used"), tokens, "{agent:#?}");
        let answered = own.iter().filter(|call| of(call, "error.type").is_null()).count();
        assert_eq!(number(agent, "agent.iterations"), answered as i64, "{agent:#?}");
        let cost: f64 = own.iter().filter_map(|call| of(call, "llm.cost_usd").as_f64()).sum();
        let told = of(agent, "agent.cost").as_f64().unwrap_or_default();
        assert!((told - cost).abs() < 1e-12 && cost > 0.0, "{told} and {cost}");
        assert_eq!(text(agent, "agent.framework"), "react");
        assert_eq!(text(agent, "gen_ai.operation.name"), "invoke_agent");
        assert_eq!(of(agent, "agent.id"), of(agent, "gen_ai.agent.id"));
        // It fails by what fails its node.
        assert_eq!(of(agent, "error.type").as_str(), code, "{agent:#?}");
    }
    for tool in named(trace, run, "tool.execute") {
        assert_eq!(text(tool, "gen_ai.operation.name"), "execute_tool");
        assert_eq!(text(tool, "gen_ai.tool.name"), "look");
        assert_eq!(text(tool, "gen_ai.tool.type"), "function");
        assert_eq!(text(tool, "error.type"), if code.is_some() { "http_status" } else { "" });
    }
}
