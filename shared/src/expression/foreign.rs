//! What people write who come from other languages and products, and how the same is said here.

/// What is meant by a sign that no expression has: its length is that of the sign.
pub(super) fn sign(rest: &str) -> Option<(&'static str, &'static str)> {
    const SIGNS: [(&str, &str); 13] = [
        ("&&", "write `and`"),
        ("&", "write `and`"),
        ("||", "write `or`; one `|` alone leads to a filter"),
        ("===", "write `==`"),
        ("!==", "write `!=`"),
        ("=>", "there are no functions; a filter takes each item: `x | map(attribute='name')`"),
        ("<>", "write `!=`"),
        ("!", "write `not`"),
        ("??", "write `x | default(y)`"),
        ("?.", "write `x.y | default(none)`: what is missing on the way counts as missing"),
        ("?", "write `a if condition else b`"),
        ("`", "write text in `'` or `\"`, and put it together with `~`"),
        (
            "$",
            "there are no variables with `$`: an expression starts from `input`, `run` or `nodes.<id>`",
        ),
    ];
    SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign))
}

/// What is meant by a variable that there is not.
pub(super) fn variable(word: &str, is_called: bool) -> Option<&'static str> {
    let hint = match word {
        "null" | "Null" | "NULL" | "nil" | "NONE" => "write `none`",
        "undefined" => "write `x is defined`, or `x | default(y)`",
        "TRUE" => "write `true`",
        "FALSE" => "write `false`",
        "AND" => "write `and`",
        "OR" => "write `or`",
        "NOT" => "write `not`",
        "len" | "length" | "size" | "count" if is_called => "write `x | length`",
        "str" | "String" if is_called => "write `x | string`",
        "int" | "parseInt" | "Number" if is_called => "write `x | int`, or `x | float`",
        "float" | "parseFloat" if is_called => "write `x | float`",
        "upper" | "lower" | "trim" | "join" | "split" | "round" | "sum" | "min" | "max"
        | "sorted" | "sort" | "default" | "abs" | "list" | "replace" | "tojson" | "fromjson"
            if is_called =>
        {
            "it is a filter: write `x | name`, with further arguments in brackets behind it"
        }
        "now" | "today" | "Date" | "datetime" | "time" => {
            "an expression yields the same each time; `run.created_at` is when the run began"
        }
        "random" | "uuid" => "an expression yields the same each time; `run.id` is unique",
        "JSON" => "write `x | tojson`, or `x | fromjson`",
        "Math" => "there are `round`, `abs`, `min`, `max`: `x | round(2)`",
        "Object" => "write `x | items`, or `x | list` for its keys",
        "steps" | "step" | "jobs" | "tasks" | "task" | "needs" | "outputs" | "states"
        | "previous" => "what a node has yielded is `nodes.<id>`",
        "inputs" | "params" | "parameters" | "payload" | "trigger" | "event" | "body" | "data"
        | "args" | "json" | "workflow" => {
            "what the run was started with is `input`, what a node has yielded `nodes.<id>`"
        }
        "env" | "vars" | "github" | "matrix" | "config" => {
            "an expression knows no environment: hand it over in the run's `input`"
        }
        _ => return None,
    };
    Some(hint)
}

/// What is said of a member that is probably meant to be the length, and what is meant.
pub(crate) const LENGTH: (&str, &str) = (
    "`.length` is a member here, and not the length",
    "write `x | length`; a member of that name is read by `x['length']`",
);

/// What is meant by a method: no value has any.
pub(crate) fn method(name: &str) -> &'static str {
    match name {
        "length" | "size" | "len" | "count" => "write `x | length`",
        "toUpperCase" | "upper" | "uppercase" => "write `x | upper`",
        "toLowerCase" | "lower" | "lowercase" => "write `x | lower`",
        "capitalize" | "title" => "write `x | title`, or `x | capitalize`",
        "trim" | "strip" => "write `x | trim`",
        "includes" | "contains" | "has" | "hasOwnProperty" | "indexOf" | "find" => {
            "write `part in x`"
        }
        "startsWith" | "startswith" => "write `x is startingwith('…')`",
        "endsWith" | "endswith" => "write `x is endingwith('…')`",
        "push" | "append" | "concat" | "extend" | "add" => "write `x + [item]`",
        "join" => "write `x | join(', ')`",
        "split" => "write `x | split(',')`",
        "replace" | "replaceAll" => "write `x | replace('a', 'b')`",
        "map" => "write `x | map(attribute='name')`",
        "filter" => "write `x | selectattr('name')`, or `x | select('gt', 0)`",
        "reduce" | "sum" => "write `x | sum`",
        "forEach" | "each" => "write `{% for item in x %}…{% endfor %}`",
        "slice" | "substring" | "substr" => "write `x[0:10]`",
        "toString" | "str" => "write `x | string`",
        "toFixed" | "round" => "write `x | round(2)`",
        "keys" => "write `x | list`",
        "items" | "entries" | "values" => "write `x | items`, which yields pairs",
        "get" => "write `x.name | default(…)`, or `x['name']`",
        "sort" | "sorted" => "write `x | sort`",
        "reverse" => "write `x | reverse`",
        "first" | "at" => "write `x | first`, or `x[0]`",
        "last" | "pop" => "write `x | last`, or `x[-1]`",
        "json" | "parse" => "write `x | fromjson`",
        "stringify" => "write `x | tojson`",
        "isEmpty" => "write `x | length == 0`",
        "format" => "write `'…%s…' | format(x)`, or `'…' ~ x`",
        _ => "use a filter: `x | upper`",
    }
}

/// What is meant by a statement that there is not.
pub(super) fn statement(word: &str) -> &'static str {
    match word {
        "elseif" | "elsif" => "write `{% elif … %}`",
        "end" | "fi" => "write `{% endif %}`, or `{% endfor %}`",
        "foreach" | "each" | "while" => "write `{% for item in list %}…{% endfor %}`",
        _ => "there are `{% if %}` and `{% for %}`; compute values in a transform node",
    }
}

/// What is meant by a text that is one expression but for a sign before it, as other products have it.
pub(super) fn prefix(source: &str) -> Option<(&'static str, String)> {
    let source = source.trim();
    let (sign, rest) = [("$", "${{"), ("=", "={{")]
        .into_iter()
        .find(|(_, start)| source.starts_with(start))
        .map(|(sign, _)| (sign, &source[1..]))?;
    let is_all = rest.ends_with("}}") && rest.matches("{{").count() == 1;
    let hint = format!(
        "write `{{{{ … }}}}` without it; where the text is to begin with it, write `{{{{ '{sign}' ~ … }}}}`"
    );
    is_all.then_some((sign, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sign_counts() {
        for (rest, found) in [("&& b", "&&"), ("?? b", "??"), ("? b : c", "?"), ("!== 1", "!==")] {
            assert_eq!(sign(rest).map(|(sign, _)| sign), Some(found), "{rest}");
        }
        assert_eq!(sign("@x"), None);
    }

    #[test]
    fn only_a_text_that_is_one_expression_has_a_prefix() {
        assert_eq!(prefix("${{ input.n }}").map(|it| it.0), Some("$"));
        assert_eq!(prefix(" ={{ input.n }}\n").map(|it| it.0), Some("="));
        for source in ["$ {{ input.n }}", "${{ a }} and ${{ b }}", "${{ a }} euros", "{{ a }}", "="]
        {
            assert_eq!(prefix(source), None, "{source}");
        }
    }
}
