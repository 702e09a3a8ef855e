//! The mistakes that people make who write their first workflows: for each, the file, line and column where it lies, and
//! what would be right.

use std::fs;

use super::skein::TestDirectory;

/// A document, with `§` before the place that must be told, and parts of what must be said there.
struct Mistake {
    /// A word for it, and the name of its file.
    name: &'static str,
    document: String,
    /// The node or edge that is named.
    owner: &'static str,
    says: &'static str,
    hint: &'static str,
    is_warning: bool,
}

fn mistake(
    name: &'static str,
    document: impl Into<String>,
    owner: &'static str,
    says: &'static str,
    hint: &'static str,
) -> Mistake {
    Mistake { name, document: document.into(), owner, says, hint, is_warning: false }
}

fn warning(
    name: &'static str,
    document: impl Into<String>,
    owner: &'static str,
    says: &'static str,
    hint: &'static str,
) -> Mistake {
    Mistake { is_warning: true, ..mistake(name, document, owner, says, hint) }
}

/// A workflow whose transform yields something that an expression computes.
fn computing(expression: &str) -> String {
    format!(
        "\
name: w
input:
  type: object
  additionalProperties: false
  properties:
    price: {{ type: number }}
    item: {{ type: string }}
    tags: {{ type: array }}
    any: {{}}
nodes:
  - id: get
    type: http
    params:
      url: https://example.com/{{{{ input.item }}}}
  - id: big
    type: transform
    params:
      value: \"{expression}\"
edges:
  - {{ from: get, to: big }}
"
    )
}

/// Nodes as they are written, in a workflow.
fn nodes(text: &str) -> String {
    format!("name: w\nnodes:\n{text}")
}

#[rustfmt::skip] // One mistake a line.
fn mistakes() -> Vec<Mistake> {
    let big = "node big";
    vec![
        // Structure.
        mistake("no-yaml", "name: w\nnodes: [a\nedges§: 1\n", "", "malformed YAML", "indent with spaces"),
        mistake("tab", "name: w\nnodes:\n\t§- id: a\n", "", "malformed YAML", "spaces"),
        mistake("key-twice", "name: w\n§name: v\nnodes: []\n", "", "`name` is there twice", "each key once"),
        mistake("two-documents", "name: w\n§---\nname: v\n", "", "more than one document", "`---`"),
        mistake("leading-zero", nodes("  - id: a\n    type: transform\n    params: { value: §007 }\n"), "", "`007`", "in quotes"),
        mistake("misspelled-field", nodes("  - id: a\n    §tpye: log\n"), "node a", "unknown field `tpye`", "did you mean `type`?"),
        mistake("misspelled-type", nodes("  - id: a\n    type: §htpp\n"), "node a", "unknown type of node `htpp`", "did you mean `http`?"),
        mistake("missing-parameter", nodes("  - id: a\n    type: http\n    §params:\n      method: GET\n"), "node a", "`url` is missing", "http"),
        mistake("id-with-hyphen", nodes("  - id: §get-it\n    type: log\n    params: { message: m }\n"), "node get-it", "no id of a node", "letters, digits and `_`"),
        mistake("number-for-a-duration", nodes("  - id: a\n    type: http\n    timeout: §30\n    params: { url: 'https://h' }\n"), "node a", "not a duration", "`5s`"),
        mistake("edge-to-nowhere", nodes("  - { id: a, type: log, params: { message: m } }\nedges:\n  - from: a\n    to: §bb\n"), "edge a -> bb", "there is no node `bb`", ""),
        mistake("branch-missing", nodes("  - { id: c, type: condition, params: { if: '{{ input.x > 1 }}' } }\n  - { id: a, type: log, params: { message: m } }\nedges:\n  - §{ from: c, to: a }\n"), "edge c -> a", "`branch` is missing", "one of \"true\", \"false\""),
        mistake("branch-without-quotes", nodes("  - { id: c, type: condition, params: { if: '{{ input.x > 1 }}' } }\n  - { id: a, type: log, params: { message: m } }\nedges:\n  - { from: c, to: a, branch: §true }\n"), "edge c -> a", "`branch` is a boolean, not text", "in quotes: \"true\""),
        mistake("cycle", nodes("  - { id: a, type: log, params: { message: m } }\n  - { id: b, type: log, params: { message: m } }\nedges:\n  - { from: a, to: b }\n  - §{ from: b, to: a }\n"), "edge b -> a", "a cycle: a -> b -> a", "no loops"),
        mistake("json-comma", "{\"name\": \"w\",\n \"nodes\": [],\n§}", "", "trailing comma", "none after the last"),
        // Expressions of other languages and products.
        warning("github", computing("§${{ input.price }}"), big, "a `$` before an expression", "write `{{ … }}` without it"),
        warning("n8n", computing("§={{ input.price }}"), big, "a `=` before an expression", "write `{{ … }}` without it"),
        mistake("n8n-json", computing("{{ §$json.price }}"), big, "`$` is no sign", "`input`, `run` or `nodes.<id>`"),
        mistake("and", computing("{{ input.any §&& input.price > 1 }}"), big, "`&&`", "write `and`"),
        mistake("or", computing("{{ input.any §|| input.price }}"), big, "`||`", "write `or`"),
        mistake("not", computing("{{ §!input.any }}"), big, "`!`", "write `not`"),
        mistake("coalesce", computing("{{ input.any §?? 1 }}"), big, "`??`", "`x | default(y)`"),
        mistake("optional-chaining", computing("{{ input.any§?.x }}"), big, "`?.`", "default"),
        mistake("ternary", computing("{{ input.any §? 1 : 2 }}"), big, "`?`", "`a if condition else b`"),
        mistake("triple-equals", computing("{{ input.price §=== 1 }}"), big, "`===`", "write `==`"),
        mistake("not-double-equals", computing("{{ input.price §!== 1 }}"), big, "`!==`", "write `!=`"),
        mistake("single-equals", computing("{{ input.price §= 1 }}"), big, "`=`", "write `==`"),
        mistake("null", computing("{{ input.any == §null }}"), big, "`null`", "write `none`"),
        mistake("undefined", computing("{{ input.any == §undefined }}"), big, "`undefined`", "is defined"),
        mistake("backtick", computing("{{ §`a${input.item}` }}"), big, "is no sign of an expression", "put it together with `~`"),
        mistake("arrow", computing("{{ input.tags | map(x §=> x.id) }}"), big, "`=>`", "map(attribute='name')"),
        mistake("to-upper-case", computing("{{ input.item.§toUpperCase() }}"), big, "values have no methods", "`x | upper`"),
        mistake("includes", computing("{{ input.tags.§includes('a') }}"), big, "values have no methods", "`part in x`"),
        mistake("push", computing("{{ input.tags.§push(1) }}"), big, "values have no methods", "`x + [item]`"),
        mistake("length-of-a-list", computing("{{ input.tags.§length }}"), big, "is a list and has no `length`", "`x | length`"),
        mistake("len", computing("{{ §len(input.tags) }}"), big, "unknown variable `len`", "`x | length`"),
        mistake("stringify", computing("{{ §JSON.stringify(input) }}"), big, "unknown variable `JSON`", "tojson"),
        mistake("now", computing("{{ §now() }}"), big, "unknown variable `now`", "run.created_at"),
        mistake("inputs", computing("{{ §inputs.price }}"), big, "unknown variable `inputs`", "did you mean `input`?"),
        mistake("steps", computing("{{ §steps.get.output }}"), big, "unknown variable `steps`", "`nodes.<id>`"),
        mistake("secrets", computing("{{ §secrets.key }}"), big, "`secrets` cannot be used", ""),
        mistake("else-if", computing("{% if input.any %}a{% else §if input.price %}b{% endif %}"), big, "`{% else if %}`", "elif"),
        mistake("set", computing("{% §set x = 1 %}"), big, "`{% set %}`", "transform"),
        mistake("unclosed", computing("§{{ input.price }"), big, "`{{` has no `}}`", ""),
        mistake("filter", computing("{{ input.item | §uper }}"), big, "unknown filter `uper`", "did you mean `upper`?"),
        // What can be known of values.
        mistake("input-member", computing("{{ input.§prize }}"), big, "`input` has no `prize`", "did you mean `price`?"),
        mistake("run-member", computing("{{ run.§foo }}"), big, "`run` has no `foo`", "there are id, workflow"),
        mistake("http-member", computing("{{ nodes.get.§stauts }}"), big, "`nodes.get` has no `stauts`", "did you mean `status`?"),
        mistake("http-data", computing("{{ nodes.get.§data.x }}"), big, "`nodes.get` has no `data`", "status, headers, body"),
        mistake("unknown-node", computing("{{ §nodes.gett.body }}"), big, "there is no node `gett`", "did you mean `get`?"),
        mistake("node-in-brackets", computing("{{ §nodes['get'].body }}"), big, "`nodes` without the id", "nodes.<id>"),
        mistake("node-behind", nodes("  - { id: a, type: transform, params: { value: '{{ §nodes.b }}' } }\n  - { id: b, type: transform, params: { value: 1 } }\n"), "node a", "does not come before it", "edges that lead from `b` to `a`"),
        warning("length-of-anything", computing("{{ nodes.get.body.§length }}"), big, "`.length` is a member here", "`x | length`"),
        warning("branch-compared", nodes("  - { id: c, type: condition, params: { if: '{{ input.x > 1 }}' } }\n  - { id: a, type: log, params: { message: m } }\nedges:\n  - { from: c, to: a, branch: 'true', when: '{{ §nodes.c.branch == false }}' }\n"), "edge c -> a", "`nodes.c.branch` is text, and never equal to a boolean", "compare it with text, in quotes"),
        warning("skipped", nodes("  - { id: c, type: condition, params: { if: 'true' } }\n  - { id: a, type: transform, params: { value: 1 } }\n  - id: z\n    type: transform\n    params:\n      value: |\n        first\n          {{ §nodes.a }}\nedges:\n  - { from: c, to: a, branch: 'true' }\n  - { from: c, to: z, branch: 'false' }\n  - { from: a, to: z }\n"), "node z", "`nodes.a` may have been skipped when `z` runs", "| default(none)"),
    ]
}

#[test]
fn each_mistake_is_told_with_file_line_and_column_and_what_would_be_right() {
    let directory = TestDirectory::new("mistakes");
    let mistakes = mistakes();
    assert!(mistakes.len() >= 30);
    let mut args = vec!["validate".to_owned()];
    let mut expected = Vec::new();
    for Mistake { name, document, .. } in &mistakes {
        let ending = if document.starts_with('{') { "json" } else { "yaml" };
        let file = format!("{name}.{ending}");
        let (before, after) = document.split_once('§').expect("it has a mark");
        fs::write(directory.path().join(&file), format!("{before}{after}")).expect("it is written");
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[start..].chars().count() + 1;
        let written = format!("{before}{after}").lines().nth(line - 1).map(str::to_owned);
        expected.push((format!("{file}:{line}:{column}"), line, column, written));
        args.push(file);
    }
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = directory.skein(&args).output().expect("skein can be started");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for (mistake, (place, line, column, written)) in mistakes.iter().zip(&expected) {
        let Mistake { name, owner, says, hint, is_warning, .. } = mistake;
        let is_at = |it: &&str| it.split_whitespace().next() == Some(place.as_str());
        let paragraph = stderr.split("\n\n").find(is_at);
        let of_file: Vec<_> = stderr.split("\n\n").filter(|it| it.contains(name)).collect();
        let paragraph = paragraph.unwrap_or_else(|| panic!("no {place} in {of_file:#?}"));
        let owner = if owner.is_empty() { String::new() } else { format!("{place} ({owner}) /") };
        assert!(paragraph.contains(&owner), "{name}: {paragraph}");
        assert!(unbroken(paragraph).contains(says), "{name}: {paragraph}");
        assert!(unbroken(paragraph).contains(hint), "{name}: {paragraph}");
        // The line, and the mark below its column.
        let written = written.as_deref().unwrap_or_default().replace('\t', " ");
        let shown = format!("    {line} | {}", written.trim_end());
        let mark = format!("{}^", " ".repeat("    ".len() + line.to_string().len() + 2 + column));
        let mut lines = paragraph.lines().skip_while(|it| *it != shown);
        assert!(lines.next().is_some(), "{name}: no {shown:?} in {paragraph}");
        let below = lines.next().unwrap_or_default().replace('|', " ");
        assert_eq!(below, mark, "{name}: {paragraph}");
        let severity = if *is_warning { "warning:" } else { "error:" };
        let file = place.split(':').next().unwrap_or_default();
        assert!(stderr.contains(&format!("{severity} {file} has ")), "{name}: {stderr}");
    }
    // Warnings leave their file valid.
    let warned = mistakes.iter().filter(|mistake| mistake.is_warning).count();
    assert_eq!(stdout.matches("is valid").count(), warned, "{stdout}");
    let warned = directory.skein(&["validate", "skipped.yaml"]).output().expect("it starts");
    assert_eq!(warned.status.code(), Some(0));
}

/// Text as it was before its lines were broken.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
