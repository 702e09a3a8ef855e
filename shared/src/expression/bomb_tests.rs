//! Small expressions that would take gigabytes or hours: each must be refused, quickly and without
//! first building what it asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::analysis::{TAGS_MAX, TOKENS_MAX};
use super::{Allowance, Scope, Template};

/// Far more than any of them needs on a busy machine in a debug build.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Growth of the process while all of them run. Other tests run beside; each bomb alone would take more.
const GROWTH_MAX: usize = 400 * 1024 * 1024;

fn scope() -> Scope {
    let rows: Vec<Value> = (0..2_000).map(|n| json!({"n": n, "s": "x".repeat(100)})).collect();
    let input = json!({
        "rows": rows,
        "zeros": vec![0; 20_000],
        "text": "y".repeat(200_000),
        "names": "%(a)s".repeat(40_000),
        "n": 3,
    });
    Scope { input: Arc::new(input), ..Scope::default() }
}

/// The peak of the process's resident memory, in bytes.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

fn doubling_loops(depth: usize) -> String {
    let opening: String =
        (1..=depth).map(|n| format!("{{% for x{n} in [[x{m}, x{m}]] %}}", m = n - 1)).collect();
    format!("{{% for x0 in [1] %}}{opening}{{{{ x{depth} }}}}{}", "{% endfor %}".repeat(depth + 1))
}

fn nested(inner: &str, wrap: impl Fn(String) -> String, times: usize) -> String {
    (0..times).fold(inner.to_owned(), |source, _| wrap(source))
}

fn bombs() -> Vec<String> {
    let lone = |expression: &str| format!("{{{{ {expression} }}}}");
    let mut bombs: Vec<String> = [
        // Width and repetition.
        "'%1000000000d' | format(1)",
        "'%.1000000000f' | format(1.5)",
        "input.names | format(a=input.text)",
        "(input.zeros | map(attribute='b', default=input.text) | list) ~ ''",
        "input.zeros | groupby('b', default=input.text) | length",
        "input.zeros | batch(1) | list | sum(start=[]) | length",
        "'a' | indent(1000000000)",
        "'a\\nb' | indent(100000000)",
        "'x' * 1000000000",
        "1000000000 * 'x'",
        "('x' ~ 'y') * 100000000",
        "[1] * 100000000",
        "100000000 * [1]",
        "input.zeros * 100000000",
        "2 * 3 * input.rows * 10000",
        "input.rows[0:] * 1000000",
        "[[[[[1] * 9999] * 9999] * 9999] * 9999] * 9999",
        "[[[1] * 9999] * 9999] * 9999 == [[[1] * 9999] * 9999] * 9999",
        "'' ~ [[[1] * 9999] * 9999] * 9999",
        "(1, 2) * 100000000",
        "(input.text | replace('y', input.text)) | length",
        "(input.zeros | join(input.text)) | length",
        "(input.zeros | join('y' ~ input.text)) | length",
        "'abc' | center(1000000000)",
        // Counting.
        "range(1000000000)",
        "range(0, 1000000000, 2) | list",
        "range(-9223372036854775807, 9223372036854775807)",
        "10 ** 1000000",
        // Sharing: small in memory, huge when walked.
        "input.zeros | map('default', input.zeros | map('default', input.zeros, true) | list, true) | list",
        "input.zeros | batch(1, input.zeros | batch(1, input.zeros | list) | list) | list",
        "input.rows | zip(input.rows) | list",
        "input.rows | chain(input.rows) | list",
        "input.rows | slice(1000, input.rows) | list",
        "input.rows | map(attribute='zz', default=input.rows) | list",
        "input.rows | groupby('n') | groupby('1') | list",
        "range(10000) | map('range') | list",
        // Results beyond the limit.
        "[input.text, input.text, input.text, input.text, input.text, input.text]",
        "[input.rows, input.rows, input.rows, input.rows, input.rows] | tojson",
        // What is not there.
        "debug()",
        "cycler",
        "self",
        "lipsum(1000)",
        "namespace(a=1)",
        "dict(a=1)",
        "input | pprint",
        "f(*input.rows)",
    ]
    .map(lone)
    .into();
    bombs.extend([
        doubling_loops(40),
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for i in range(10000) %}{{ input.text }}{% endfor %}".to_owned(),
        "{% for i in range(10000) %}{% if input.text == 'z' %}{% endif %}{% endfor %}".to_owned(),
        "{% for t in [input.text] %}{% for i in range(10000) %}{% if t is lower %}{% endif %}{% endfor %}{% endfor %}".to_owned(),
        "{% for x in [[1, 1]] recursive %}{{ loop([[x, x]]) }}{% endfor %}".to_owned(),
        "{% set a = [1, 1] %}{% set b = [a, a] %}{{ b }}".to_owned(),
        "{% with a = [1, 1] %}{{ a }}{% endwith %}".to_owned(),
        "{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{% include 'x' %}".to_owned(),
        "{% extends 'x' %}".to_owned(),
        "{% import 'x' as x %}".to_owned(),
        "{% filter upper %}{{ input.text }}{% endfilter %}".to_owned(),
        "{% block a %}{% endblock %}".to_owned(),
        "{% do input.rows %}".to_owned(),
        "{% call x() %}{% endcall %}".to_owned(),
        lone(&nested("input.n", |source| format!("({source})"), 5_000)),
        lone(&nested("input.n", |source| format!("[{source}]"), 5_000)),
        lone(&nested("input.n", |source| format!("[{source}]"), 100)),
        lone(&format!("{}input.n", "not ".repeat(3_000))),
        lone(&format!("{}input.n", "-".repeat(3_000))),
        lone(&format!("input.rows{}", " | list".repeat(2_000))),
        lone(&format!("[input.n]{}", "|batch(1)".repeat(1_700))),
        lone(&format!("[{}]", vec!["input"; 2_000].join(", "))),
        lone(&format!("1{}", " + 1".repeat(4_000))),
        lone(&format!("input{}", "[0]".repeat(4_000))),
        lone(&format!("1{}", " if 1 else 1".repeat(1_000))),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(1_000)),
        "{{ 1 }}".repeat(1_000),
        lone(&"x".repeat(20_000)),
    ]);
    bombs
}

#[test]
fn bombs_are_refused_quickly_and_without_building_them() {
    let scope = scope();
    let before = peak_memory();
    for source in bombs() {
        let shown: String = source.chars().take(100).collect();
        let started = Instant::now();
        let result = Template::parse(&Value::from(source), "")
            .map(|it| it.render(&scope, &Allowance::whole()));
        let took = started.elapsed();
        assert!(!matches!(result, Ok(Ok(_))), "{shown} was let through");
        assert!(took < TIME_MAX, "{shown} took {took:?}");
    }
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        let growth = after.saturating_sub(before);
        assert!(growth < GROWTH_MAX, "the process grew by {growth} bytes");
    }
}

/// The threads of tests have a stack of 2 MiB.
#[test]
fn what_is_too_long_is_not_parsed_behind_any_number_of_other_problems() {
    let many = "{{1}}".repeat(TAGS_MAX + 1);
    for source in [
        format!("{many}{{{{ {}a }}}}", "not ".repeat(3_800)),
        format!("{many}{{{{ {}a }}}}", "-".repeat(15_000)),
        format!("{}{{{{ {}a }}}}", "{{zz}}".repeat(100), "-".repeat(15_000)),
        format!("{}{{% if {}a %}}{{% endif %}}", "{{zz}}".repeat(100), "-".repeat(15_000)),
        format!("{{% for {}a in [1] %}}{{% endfor %}}", "(".repeat(15_000)),
        format!("{{% for {0}a{1} in [1] %}}{{% endfor %}}", "(".repeat(8_000), ")".repeat(8_000)),
    ] {
        let found = Template::parse(&Value::from(source.as_str()), "").unwrap_err();
        assert!(!found.is_empty(), "{}", &source[..100]);
    }
}

#[test]
fn the_longest_chains_that_are_allowed_fit_the_stack() {
    // Any of these may be refused or fail; what must not happen is that the process dies.
    let fill = |link: &str, tokens: usize| link.repeat((TOKENS_MAX - 2) / tokens);
    let chains = [
        format!("{}1", fill("not ", 1)),
        format!("{}1", fill("-", 1)),
        format!("1{}", fill(" + 1", 2)),
        format!("1{}", fill(" ** 1", 2)),
        format!("1{}", fill(" * 1", 2)),
        format!("1{}", fill(" and 1", 2)),
        format!("1{}", fill(" < 1", 2)),
        format!("input{}", fill(".a", 2)),
        format!("input{}", fill("[0]", 3)),
        format!("input{}", fill("()", 2)),
        format!("1{}", fill(" is odd", 2)),
        format!("1{}", fill(" if 1 else 1", 4)),
        format!("1{}", "|list".repeat(64)),
        format!("{}1{}", "[".repeat(149), "]".repeat(149)),
        format!("{}1{}", "(1 + ".repeat(140), ")".repeat(140)),
        format!("{}1{}", "{1: ".repeat(140), "}".repeat(140)),
    ];
    let mut sources: Vec<String> =
        chains.iter().map(|chain| format!("{{{{ {chain} }}}}")).collect();
    sources.push(format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(TAGS_MAX - 2)));
    sources.push(format!(
        "{}{}",
        "{% if 1 %}".repeat(TAGS_MAX / 2),
        "{% endif %}".repeat(TAGS_MAX / 2)
    ));
    sources.push(format!(
        "{}{}",
        "{% for i in [1] %}".repeat(TAGS_MAX / 2),
        "{% endfor %}".repeat(TAGS_MAX / 2)
    ));
    let scope = scope();
    for source in sources {
        for source in [source.clone(), format!("text {source}")] {
            if let Ok(template) = Template::parse(&Value::from(source), "") {
                let _ = template.render(&scope, &Allowance::whole());
            }
        }
    }
}

/// Work that minijinja does for nothing, with texts and values of the size of an input.
#[test]
fn nothing_is_looked_up_again_and_again_at_no_cost() {
    let ints = vec![7; 50_000];
    let fields: serde_json::Map<_, _> = (0..20_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let input = json!({
        "rows": vec![json!({"a": 1}); 9_000], "dots": ".".repeat(200_000), "zeros": "0".repeat(200_000),
        "ints": ints, "fields": fields, "text": "y".repeat(200_000),
    });
    let scope = Scope { input: Arc::new(input), ..Scope::default() };
    let paths = ["dots", "zeros"].into_iter().flat_map(|path| {
        [
            "groupby(PATH)",
            "join('', PATH)",
            "join(attribute=PATH)",
            "map(attribute=PATH, default=1)",
            "max(attribute=PATH)",
            "min(attribute=PATH)",
            "rejectattr(PATH)",
            "selectattr(PATH, 'defined')",
            "sort(attribute=PATH)",
            "sum(PATH)",
            "unique(attribute=PATH)",
        ]
        .map(|filter| {
            let filter = filter.replace("PATH", &format!("input.{path}"));
            format!("{{{{ input.rows | {filter} | length }}}}")
        })
    });
    let often = [
        ("input.ints | list", "{x: 1}"),
        ("input.text", "{x: 1}"),
        ("input.ints | list", "x in m"),
        ("input.ints | list", "m[x] is defined"),
        ("input.ints", "m[x] is defined"),
        ("input.fields", "x | first"),
        ("input.fields", "x | items"),
    ]
    .map(|(bound, condition)| {
        format!(
            "{{% for m in [{{'a': 1}}] %}}{{% for x in [{bound}] %}}{{% for i in range(9999) %}}{{% for j in range(99) %}}\
             {{% if {condition} %}}{{% endif %}}{{% endfor %}}{{% endfor %}}{{% endfor %}}{{% endfor %}}"
        )
    });
    for source in paths.chain(often) {
        let template = Template::parse(&json!(source), "").unwrap();
        for allowance in [Allowance::in_place(), Allowance::whole()] {
            let begun = Instant::now();
            let result = template.render(&scope, &allowance);
            let took = begun.elapsed();
            assert!(result.is_err(), "{source} was let through");
            assert!(took < TIME_MAX, "{source} took {took:?}");
        }
    }
}

#[test]
fn what_lies_under_long_keys_is_reached_as_quickly_as_anything() {
    let long = "k".repeat(200_000);
    let input = json!({ "under": { long: vec![1; 9_000], "short": 1 } });
    let scope = Scope { input: Arc::new(input), ..Scope::default() };
    let source = "{{ (input.under | items | first)[1] | sum }}";
    let template = Template::parse(&json!(source), "").unwrap();
    let begun = Instant::now();
    let sum = template.render(&scope, &Allowance::in_place());
    assert_eq!((sum, begun.elapsed() < Duration::from_secs(1)), (Ok(json!(9_000)), true));
}

#[test]
fn honest_work_on_large_inputs_fits_the_limits() {
    let scope = scope();
    for (source, expected) in [
        ("{{ input.rows | map(attribute='n') | sum }}", json!(1_999_000)),
        (
            "{{ input.rows | selectattr('n', 'gt', 1997) | map(attribute='n') | list }}",
            json!([1998, 1999]),
        ),
        ("{{ input.rows | length * input.n }}", json!(6_000)),
        ("{{ input.text | upper | length }}", json!(200_000)),
        ("{{ (input.rows | tojson | fromjson)[7].n }}", json!(7)),
        ("{{ input.rows | groupby('s') | length }}", json!(1)),
        ("{{ [[1, 2], [3]] | sum(start=[]) }}", json!([1, 2, 3])),
        ("{{ 'rows: ' ~ input.n ~ [1, 'a'] }}", json!("rows: 3[1, 'a']")),
        ("{{ (input.rows | sort(attribute='n', reverse=true) | first).n }}", json!(1_999)),
    ] {
        let template = Template::parse(&json!(source), "").unwrap();
        assert_eq!(
            template.render(&scope, &Allowance::whole()).map_err(|error| error.message),
            Ok(expected),
            "{source}"
        );
    }
}

/// minijinja 3.1.0 overflows on them: a panic where overflows are checked.
#[test]
fn the_smallest_slice_step_there_is_ends_nothing_but_its_expression() {
    for source in ["{{ input.text[::-9223372036854775808] }}", "{{ input.rows[::input.least] }}"] {
        let mut scope = scope();
        let mut input = Value::clone(&scope.input);
        input["least"] = json!(i64::MIN);
        scope.input = input.into();
        let template = Template::parse(&json!(source), "").unwrap();
        if let Err(error) = template.render(&scope, &Allowance::whole()) {
            assert_eq!(error.message, "the expression cannot be evaluated");
        }
    }
}
