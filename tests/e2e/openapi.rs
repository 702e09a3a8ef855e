//! The OpenAPI document, read by what others have written: a validator, generators of clients, and a tester that makes
//! requests of it. And the page that shows it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use skein_tests::stack::{KEY, Setup, Stack, with_stack, workspace};
use tokio::process::Command;

use crate::registries::{from_npm, from_pypi};

/// How long one of these programs may take. On an idle machine it is seconds, and a minute for the tester.
const PROGRAM_MAX: Duration = Duration::from_secs(200);
/// What requests are drawn from: the same each time.
const SEED: &str = "20261129";

/// A folder with the document, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("skein_openapi_{}", uuid::Uuid::new_v4().simple());
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0).expect("a directory for temporary files");
        std::fs::write(folder.document(), skein_api::openapi_json()).expect("it can be written");
        folder
    }

    fn document(&self) -> PathBuf {
        self.0.join("openapi.json")
    }

    /// Runs a program in the folder, which must do well; returns what it printed.
    async fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null()).kill_on_drop(true);
        // Generators call formatters that lie beside them.
        let beside = program.parent().expect("a program in a folder").to_string_lossy();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{beside}:{path}"));
        command.envs(environment.iter().copied());
        let ran = tokio::time::timeout(PROGRAM_MAX, command.output()).await;
        let ran = ran.unwrap_or_else(|_| panic!("{program:?} takes longer than {PROGRAM_MAX:?}"));
        let ran = ran.unwrap_or_else(|error| panic!("{program:?}: {error}"));
        let out = String::from_utf8_lossy(&ran.stdout).into_owned();
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{program:?} {arguments:?}: {}\n{out}{err}", ran.status);
        out + &err
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn own(file: &str) -> String {
    workspace().join("tests/openapi").join(file).to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_valid_and_a_client_that_is_generated_from_it_runs_a_workflow() {
    let Some(tools) = from_pypi("SKEIN_TEST_OPENAPI_TOOLS") else { return };
    let (tools, folder) = (Path::new(&tools), Folder::new());
    folder.run(&tools.join("openapi-spec-validator"), &["openapi.json"], &[]).await;
    let said = folder
        .run(
            &tools.join("openapi-python-client"),
            &[
                "generate",
                "--path",
                "openapi.json",
                "--output-path",
                "skein_client",
                "--meta",
                "none",
            ],
            &[],
        )
        .await;
    // It has no writer of YAML, which is another way to send the same.
    let warnings = said.matches("WARNING").count() + said.matches("ERROR").count();
    let is_yaml = said.contains("Unsupported content type application/yaml");
    assert!(is_yaml && warnings == 1 && !said.contains("Unable to"), "{said}");
    with_stack(Setup::embedded("openapi_client"), async |stack| {
        let python = tools.join("python");
        let said = folder
            .run(&python, &[&own("client.py"), &stack.base, KEY], &[("PYTHONPATH", ".")])
            .await;
        assert!(said.contains("the generated client runs a workflow"), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_are_generated_from_the_document_and_the_page_shows_all_of_it() {
    let Some(tools) = from_npm("SKEIN_TEST_TYPESCRIPT_TOOLS") else { return };
    let (tools, folder) = (Path::new(&tools), Folder::new());
    folder.run(&tools.join("openapi-typescript"), &["openapi.json", "-o", "schema.ts"], &[]).await;
    std::fs::copy(own("usage.ts"), folder.0.join("usage.ts")).expect("it can be copied");
    let strictly = ["--noEmit", "--strict", "--target", "es2022", "--moduleResolution", "bundler"];
    let strictly = [&strictly[..], &["--module", "esnext", "usage.ts"]].concat();
    folder.run(&tools.join("tsc"), &strictly, &[]).await;

    let script = workspace().join("api/src/docs/docs.js");
    let arguments = [&own("page.mjs"), &*script.to_string_lossy(), "openapi.json"];
    let said =
        folder.run(Path::new("/usr/bin/env"), &[&["node"], &arguments[..]].concat(), &[]).await;
    assert!(said.contains("the page shows all of the document"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_fits_the_document_is_refused_for_its_form_and_none_breaks_the_server() {
    let Some(tools) = from_pypi("SKEIN_TEST_OPENAPI_TOOLS") else { return };
    let (tools, folder) = (Path::new(&tools), Folder::new());
    with_stack(Setup::embedded("openapi_requests"), async |stack| {
        let run = ended_run(stack).await;
        let config = std::fs::read_to_string(own("schemathesis.toml")).expect("it is there");
        let names = [("<run>", run.as_str()), ("<workflow>", "adder"), ("<node>", "fetch")];
        let config = names.into_iter().fold(config, |text, (word, name)| text.replace(word, name));
        std::fs::write(folder.0.join("config.toml"), config).expect("it can be written");
        let url = format!("{}/openapi.json", stack.base);
        let authorization = format!("Authorization: Bearer {KEY}");
        let arguments = [
            "--config-file",
            "config.toml",
            "run",
            &url,
            "--header",
            &authorization,
            "--seed",
            SEED,
            "--max-examples",
            "20",
            "--continue-on-failure",
            "--no-shrink",
        ];
        let said = folder.run(&tools.join("schemathesis"), &arguments, &[]).await;
        let paths = stack.client.get("/openapi.json").await.expect("the document").body;
        let paths = paths["paths"].as_object().expect("paths").values();
        let operations: usize = paths.map(|it| it.as_object().map_or(0, |it| it.len())).sum();
        assert!(said.contains(&format!("Tested: {operations}\n")), "{said}");
    })
    .await;
}

/// A run that has ended, with a step for each kind of page that is read of it.
async fn ended_run(stack: &Stack) -> String {
    let document = json!({
        "name": "adder",
        "input": { "type": "object", "properties": { "n": { "type": "integer", "default": 1 } } },
        "nodes": [
            { "id": "fetch", "type": "transform", "params": { "value": "{{ input.n + 1 }}" } },
            { "id": "tell", "type": "log", "params": { "message": "got {{ nodes.fetch }}" } },
        ],
        "edges": [{ "from": "fetch", "to": "tell" }],
        "output": "{{ nodes.fetch }}",
    });
    stack.client.publish(&document).await;
    let run = stack.client.run("adder", &json!({ "n": 1 })).await;
    assert_eq!(run.status(), "succeeded", "{run:?}");
    run.id().to_owned()
}
