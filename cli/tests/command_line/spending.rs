//! `skein steps`, `costs`, `budget` and `decide`, against a server that is real and one that is not.

use serde_json::{Value, json};

use super::server::{RUN, Server};
use super::skein::TestDirectory;
use super::{answer, dev};

#[test]
fn steps_costs_budgets_and_decisions_are_asked_for_as_the_server_knows_them() {
    let temp = TestDirectory::new("spending");
    let [steps, decision, budget] = ["steps", "nodes/ask/decision?scope=3%2F0", "budget"]
        .map(|it| format!("/v1/runs/{RUN}/{it}"));
    let server = Server::start(move |request| {
        let step = |index| {
            json!({ "node": "ask", "scope": "", "index": index, "attempt": 1, "kind": "model", "name": "m",
                "status": "succeeded", "usage": { "input_tokens": 8, "output_tokens": 4, "total_tokens": 12 },
                "cost_usd": 0.5, "latency_ms": 7, "error": null, "span_id": "dd",
                "started_at": "2030-01-31T12:00:00Z" })
        };
        let spent = json!({ "cost_usd": 1.25, "total_tokens": 40, "steps": 2 });
        let day = json!({ "period": "day", "max_usd": 5.0, "max_tokens": null, "max_steps": null,
            "renews_at": "2030-02-01T00:00:00Z", "spent": spent });
        let (method, path) = request.split_once(' ').unwrap();
        match (method, path) {
            ("GET", path) if path == steps => {
                answer(json!({ "items": [step(1)], "next_cursor": "c" }))
            }
            ("GET", path) if path == format!("{steps}?cursor=c") => {
                answer(json!({ "items": [step(2)], "next_cursor": null }))
            }
            ("GET", "/v1/costs?group_by=node&workflow=w&from=2030-01-31T12%3A00%3A00Z&limit=3") => {
                answer(
                    json!({ "items": [{ "node": "w/ask", "calls": 2, "cost_usd": 1.0 }], "next_cursor": "c" }),
                )
            }
            ("POST", path) if path == decision => Some((204, Value::Null)),
            ("GET" | "POST", path) if path == budget => {
                answer(json!({ "max_usd": 2.0, "spent": spent }))
            }
            ("GET" | "PUT", "/v1/budgets") => answer(json!({ "items": [day] })),
            other => panic!("{other:?}"),
        }
    });
    let url = ["--url", &*server.url, "--key", "a-key"];
    let skein = |args: &[&str]| {
        let ended = temp.skein(&[args, &url].concat()).output().expect("skein can be started");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
        assert_eq!(ended.status.code(), Some(0), "{stderr}");
        (stdout, stderr)
    };
    // All pages.
    let (listed, _) = skein(&["steps", RUN]);
    assert_eq!(listed.matches("$0.500000").count(), 2, "{listed}");
    let (listed, _) = skein(&["steps", RUN, "-o", "json"]);
    let steps =
        listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].clone());
    assert_eq!(steps.collect::<Vec<_>>(), [1, 2]);

    let since = ["--since", "2030-01-31T12:00:00Z"];
    let costs = ["costs", "--by", "node", "--workflow", "w", "--limit", "3"];
    let (costs, more) = skein(&[&costs[..], &since].concat());
    assert!(costs.contains("w/ask") && costs.contains("$1.000000"), "{costs}");
    assert!(more.contains("there are more than these 3"), "{more}");

    let decided = skein(&["decide", RUN, "ask", "2", "--deny", "--reason", "no", "--scope", "3/0"]);
    assert_eq!(decided.0, "step 2 of ask denied\n");

    server.asked();
    let limits = ["--max-usd", "2", "--max-tokens", "none", "--deadline", "none"];
    let (shown, _) = skein(&[&["budget", RUN], &limits[..]].concat());
    assert!(shown.contains("$1.250000") && shown.contains("$2.000000"), "{shown}");
    let (shown, _) = skein(&["budget"]);
    assert!(shown.contains("day") && shown.contains("2030-02-01"), "{shown}");
    skein(&["budget", "--period", "day", "--max-usd", "none"]);
    let asked: Vec<_> =
        server.asked().iter().map(|it| it.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["POST", "GET", "GET", "PUT"]);
}

#[test]
fn budgets_of_runs_and_of_the_organization_are_kept_by_a_server() {
    let temp = TestDirectory::new("budget");
    let _running = dev::start(&temp);
    let skein = |args: &[&str]| {
        let ended = temp.skein(args).output().expect("skein can be started");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (text(ended.stdout), text(ended.stderr))
    };
    let budget = ["--budget-usd", "0.5", "--max-tokens", "900", "--deadline", "1h"];
    let (_, refused) = skein(&[&["run", "w.yaml"], &budget[..5], &["soon"]].concat());
    assert!(refused.contains("/budget/deadline"), "{refused}");
    skein(&[&["run", "w.yaml"], &budget[..]].concat());
    let (shown, said) = skein(&["budget", "last", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((&shown["max_usd"], &shown["max_tokens"]), (&json!(0.5), &json!(900)));
    assert!(shown["deadline"].is_string(), "{shown}");
    // It has ended.
    let (_, refused) = skein(&["budget", "last", "--max-usd", "2"]);
    assert!(refused.contains("ended"), "{refused}");
    assert_eq!(skein(&["steps", "last"]).0, "no steps\n");
    assert_eq!(skein(&["costs"]).0, "no costs\n");
    let (set, said) = skein(&["budget", "--period", "day", "--max-usd", "5"]);
    assert!(set.contains("day") && set.contains("$5.000000"), "{set}{said}");
    let (set, _) = skein(&["budget", "--period", "day", "--max-usd", "none"]);
    assert_eq!(set, "no budgets\n");
}
