//! The front page does what it says.

use std::fs;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skein_tests::stack::{Setup, Stack, eventually, with_stack, workspace};

use crate::examples::nodes_of;
use crate::shell;
use crate::shown::Shown;

/// What the page starts commands of the workspace with.
const CARGO: &str = "cargo run -p skein -- ";
/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);

fn readme() -> String {
    fs::read_to_string(workspace().join("README.md")).expect("there is one")
}

/// The first block of a language.
fn block<'a>(readme: &'a str, language: &str) -> &'a str {
    let (_, rest) = readme.split_once(&format!("```{language}\n")).expect("there is such a block");
    rest.split_once("```").expect("it ends").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_command_runs_a_workflow_and_shows_all_of_it() {
    with_stack(Setup::embedded("first_command"), async |stack| {
        let readme = readme();
        let indented = readme.lines().filter_map(|line| line.strip_prefix("    "));
        let command = indented.into_iter().find_map(|line| line.strip_prefix(CARGO));
        let words = shell::words(command.expect("the first command"), |_| String::new());
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let ["run", file] = words[..] else { panic!("{words:?}") };
        // Nothing but a directory: no server, and no settings.
        let mut skein = stack.program("first", &["skein", "run", file]);
        skein.unset_all();
        skein.set("SKEIN_DATA", &stack.data().join("first").to_string_lossy());
        skein.start();
        let ended = skein.ended().await;
        assert_eq!(ended.code(), Some(0), "{}", skein.log());
        let document = fs::read_to_string(workspace().join(file)).expect("an example");
        Shown(&skein.log()).assert_whole("api-tour", &nodes_of(&document));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workflow_and_the_five_lines_of_curl_work_as_they_stand() {
    with_stack(Setup::distributed("lines_of_curl").workers(1), async |stack| {
        let readme = readme();
        let lines: Vec<_> = block(&readme, "sh").lines().collect();
        let [publish, run, list, logs, cancel] = lines[..] else { panic!("{lines:#?}") };
        // The only thing that is not as it stands: where the feed is.
        let feed = stack.outside.url("/feed.json");
        let run = run.replace("https://example.com/feed.json", &feed);
        assert!(run.contains(&feed), "{run}");
        stack
            .outside
            .serve("/feed.json", json!({ "items": [{ "title": "one" }, { "title": "two" }] }));

        let (status, published) = curl(stack, publish, &readme, "").await;
        assert_eq!(status, StatusCode::CREATED, "{published}");
        assert_eq!(
            published,
            json!({ "name": "digest", "version": 1, "draft": false, "outcome": "created", "archived": false,
                    "warnings": [] })
        );
        let (status, ended) = curl(stack, &run, &readme, "").await;
        assert_eq!((status, &ended["status"]), (StatusCode::OK, &json!("succeeded")), "{ended:#}");
        assert_eq!(ended["output"], json!(["one", "two"]));
        let id = ended["id"].as_str().expect("an id");
        let (status, failed) = curl(stack, list, &readme, id).await;
        assert_eq!((status, &failed["items"]), (StatusCode::OK, &json!([])));
        // The row of the end may be shown a moment later.
        eventually("the log is there", async || {
            let (status, rows) = curl(stack, logs, &readme, id).await;
            assert_eq!(status, StatusCode::OK, "{rows}");
            let rows = rows["items"].as_array().expect("a list");
            assert!(rows.iter().all(|row| row["trace_id"] == ended["trace_id"]), "{rows:#?}");
            rows.iter().any(|row| row["event"] == "run.succeeded").then_some(())
        })
        .await;
        // It has ended, and one that has not is started over the way without a feed.
        let (status, refused) = curl(stack, cancel, &readme, id).await;
        assert_eq!(status, StatusCode::CONFLICT, "{refused}");
        let held = stack.outside.url("/gate/never");
        let open = stack.client.start("digest", &json!({ "url": held })).await;
        let (status, cancelling) = curl(stack, cancel, &readme, open.id()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{cancelling}");
        assert_eq!(stack.client.ended(open.id()).await.status(), "cancelled");
    })
    .await;
}

/// Sends what a line of curl would; `run` is `$RUN`.
async fn curl(stack: &Stack, line: &str, readme: &str, run: &str) -> (StatusCode, Value) {
    let words = shell::words(line, |name| match name {
        "SKEIN_URL" => stack.base.clone(),
        "SKEIN_KEY" => skein_tests::stack::KEY.to_owned(),
        "RUN" => run.to_owned(),
        _ => panic!("the page does not say what ${name} is"),
    });
    let mut words = words.into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"));
    let (mut method, mut url, mut body) = (None, None, None);
    let mut headers = Vec::new();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} without a value"));
        match word.as_str() {
            "-X" => method = Some(value()),
            "-H" => headers.push(value()),
            "-d" => body = Some(value()),
            "--data-binary" => {
                assert_eq!(value(), "@digest.yaml");
                body = Some(block(readme, "yaml").to_owned());
            }
            _ => assert_eq!(url.replace(word), None, "{line}"),
        }
    }
    let method = method.map_or(Method::GET, |name| name.parse().expect("a method"));
    let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_MAX).build();
    let mut request = http.expect("a client").request(method, url.expect("an address"));
    for header in headers {
        let (name, value) = header.split_once(": ").expect("a header");
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    let answer = request.send().await.expect("the API answers");
    let status = answer.status();
    (status, answer.json().await.expect("an answer in JSON"))
}
