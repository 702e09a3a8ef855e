//! What is wrong with a string, where in it, and what would be right.

use serde_json::json;

use super::{Guard, Roots, Step, Template};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Part, Severity};

fn diagnostics(source: &str) -> Vec<Diagnostic> {
    let mut diagnostics = Diagnostics::default();
    let _ = Template::read(&json!(source), "/x", Roots::Run, &mut diagnostics);
    diagnostics.0
}

fn at(diagnostic: &Diagnostic) -> usize {
    match diagnostic.part {
        Part::Text(at) => at,
        part => panic!("{part:?} of {diagnostic:?}"),
    }
}

#[test]
#[rustfmt::skip] // One case a line.
fn what_is_wrong_with_one_expression_hides_nothing_of_the_others() {
    for (source, found) in [
        ("{{ a }} {{ input. }} {{ b }}", &[(3, "variable `a`"), (16, "syntax"), (24, "variable `b`")][..]),
        ("{{ a ? b }} {{ c }} {{ d && e }}", &[(5, "`?`"), (15, "variable `c`"), (25, "`&&`")]),
        ("{{ input.x + }} {{ input.y input.z }}", &[(11, "syntax"), (27, "syntax")]),
        ("{% if input. %}x{% endif %}{{ a }}", &[(11, "syntax"), (30, "variable `a`")]),
        ("{{ 'a }} {{ b }}", &[(3, "no closing quote"), (12, "variable `b`")]),
        ("{{ input.x }} {{ a }} {{ input.y", &[(17, "variable `a`"), (22, "no `}}`")]),
        ("{% set x = 1 %}{{ x }}{% do x %}", &[(3, "`{% set %}`"), (18, "variable `x`"), (25, "`{% do %}`")]),
        ("{% if true %}x", &[(13, "syntax error")]),
    ] {
        let problems = diagnostics(source);
        assert_eq!(problems.len(), found.len(), "{source}: {problems:#?}");
        for ((expected, message), problem) in found.iter().zip(&problems) {
            assert_eq!(at(problem), *expected, "{source}: {problem:?}");
            assert!(problem.message.contains(message), "{source}: {problem:?}");
        }
    }
    assert!(diagnostics(&"{{ a|b|c }} ".repeat(190)).len() <= 100);
    // A limit is told of behind any number of warnings.
    let long = format!("{{{{ [{}] }}}}", "[1].length, ".repeat(150));
    assert!(diagnostics(&long).iter().any(|it| it.message.contains("more than 600 words")));
}

#[test]
#[rustfmt::skip] // One case a line.
fn what_comes_from_other_languages_is_told_in_the_words_of_this_one() {
    for (source, place, message, hint) in [
        ("{{ input.a && input.b }}", 11, "`&&`", "`and`"),
        ("{{ input.a || input.b }}", 11, "`||`", "`or`"),
        ("{{ !input.a }}", 3, "`!`", "`not`"),
        ("{{ input.a ?? 1 }}", 11, "`??`", "default"),
        ("{{ input.a?.b }}", 10, "`?.`", "default"),
        ("{{ input.a ? 1 : 2 }}", 11, "`?`", "`a if condition else b`"),
        ("{{ input.a === 1 }}", 11, "`===`", "`==`"),
        ("{{ input.a !== 1 }}", 11, "`!==`", "`!=`"),
        ("{{ input.a <> 1 }}", 11, "`<>`", "`!=`"),
        ("{{ input.a = 1 }}", 11, "`=`", "`==`"),
        ("{% if input.a = 1 %}{% endif %}", 14, "`=`", "`==`"),
        ("{{ input.a | map(x => x.b) }}", 19, "`=>`", "map(attribute"),
        ("{{ input.a == null }}", 14, "variable `null`", "`none`"),
        ("{{ input.a != undefined }}", 14, "variable `undefined`", "is defined"),
        ("{{ `a` }}", 3, "is no sign", "in `'`"),
        ("{{ $json.a }}", 3, "`$`", "`input`"),
        ("{{ len(input.a) }}", 3, "variable `len`", "| length"),
        ("{{ now() }}", 3, "variable `now`", "run.created_at"),
        ("{{ JSON.stringify(input) }}", 3, "variable `JSON`", "tojson"),
        ("{{ steps.a.output }}", 3, "variable `steps`", "nodes.<id>"),
        ("{{ inputs.a }}", 3, "variable `inputs`", "did you mean `input`?"),
        ("{{ env.HOME }}", 3, "variable `env`", "input"),
        ("{% else if input.a %}", 8, "else if", "elif"),
        ("{% elseif input.a %}", 3, "elseif", "elif"),
    ] {
        let found = diagnostics(source);
        let it = found.iter().find(|it| it.message.contains(message) && it.hint.contains(hint));
        let it = it.unwrap_or_else(|| panic!("{source}: {found:#?}"));
        assert_eq!((at(it), it.severity), (place, Severity::Error), "{source}");
    }
}

#[test]
fn what_may_not_be_published_any_more_can_still_be_run() {
    for (source, place, severity) in [
        ("{{ input.name.upper() }}", 14, Severity::Mistake),
        ("{{ 'a'.b() }}", 7, Severity::Mistake),
        ("${{ input.n }}", 0, Severity::Warning),
        ("={{ input.n }}\n", 0, Severity::Warning),
        ("{% for x in input.list %}{{ x.length }}{% endfor %}", 30, Severity::Warning),
    ] {
        let found = diagnostics(source);
        let found: Vec<_> = found.iter().map(|it| (at(it), it.severity)).collect();
        assert_eq!(found, [(place, severity)], "{source}");
        assert!(Template::parse(&json!(source), "").is_ok(), "{source}");
    }
    for source in [
        "{% for x in input.list %}{{ loop.cycle(1, 2) }}{{ loop.length }}{% endfor %}",
        "costs ${{ input.n }}",
        "{% for x in input.list %}{{ x.length | default(1) }}{{ x['length'] }}{% endfor %}",
        "{{ input.n | default(value=1) | round(precision=2) }}",
    ] {
        assert_eq!(diagnostics(source), [], "{source}");
    }
}

#[test]
fn what_is_read_is_known_by_its_path_and_by_what_guards_it() {
    for (source, path, guard) in [
        ("{{ input.a['b'][0].c.upper() }}", "a.b.[].c", Guard::Nothing),
        ("{{ input.a[input.b].c }}", "a", Guard::Nothing),
        ("{{ nodes.x.a | default(1) }}", "a", Guard::Default),
        ("{{ 1 | default(nodes.x.a) }}", "a", Guard::Default),
        ("{{ nodes.x.a is defined }}", "a", Guard::Default),
        ("{{ 1 if nodes.x.a else 2 }}", "a", Guard::Nothing),
        ("{{ nodes.x.a if input.y else 2 }}", "a", Guard::Condition),
        ("{{ true and nodes.x.a }}", "a", Guard::Condition),
        ("{{ nodes.x.a and true }}", "a", Guard::Nothing),
        ("b {% if true %}{{ nodes.x.a }}{% endif %}", "a", Guard::Condition),
        ("b {% if nodes.x.a %}{% endif %}", "a", Guard::Nothing),
        ("b {% for y in nodes.x.a %}{% endfor %}", "a", Guard::Nothing),
        ("b {% for y in [1] %}{{ nodes.x.a }}{% endfor %}", "a", Guard::Condition),
        ("b {% for y in [1] if nodes.x.a %}{% endfor %}", "a", Guard::Condition),
        ("{{ [nodes.x.a] | select('defined') }}", "a", Guard::Condition),
        ("{{ [nodes.x.a] | reject('undefined') | list }}", "a", Guard::Condition),
        ("{{ [nodes.x.a] | select('undefined') }}", "a", Guard::Nothing),
        ("{{ [nodes.x.a] | select('odd') }}", "a", Guard::Nothing),
        ("\n{{ [nodes.x.a] }}", "a", Guard::Nothing),
    ] {
        let template = Template::parse(&json!(source), "").unwrap();
        let read = &template.references().reads[0];
        let step = |step: &Step| match step {
            Step::Member(name, at) | Step::Key(name, at) => {
                let written = source[*at..].trim_start_matches('\'');
                assert!(written.starts_with(&**name), "{source}: {name} at {at}");
                name.to_string()
            }
            Step::Item => "[]".to_owned(),
        };
        let found: Vec<_> = read.path.iter().map(step).collect();
        assert_eq!((found.join("."), read.guard), (path.to_owned(), guard), "{source}");
    }
}
