"""Queries of SigNoz's builder, translated far enough to find out whether their keys exist, with their types, and what they find.

The rest of the builder (steps, orders, formulas) is SigNoz's own business.
"""

import re
from dataclasses import dataclass

# Columns of every span.
COLUMNS = {
    "name": "string", "kind_string": "string", "status_message": "string", "trace_id": "string", "span_id": "string",
    "parent_span_id": "string", "has_error": "bool", "duration_nano": "number", "status_code": "number", "timestamp": "number",
}
TYPES = {"string": "string", "bool": "bool", "number": "number", "int64": "number", "float64": "number"}
TOKEN = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|([()=!<>]+|,)|([^\s()=!<>',]+))")
SUFFIXES = (".bucket", ".sum", ".count", ".min", ".max")
SPANS = "signoz_traces.distributed_signoz_index_v3"


class Wrong(Exception):
    """What a query asks about does not exist, or is not what the query takes it for."""


@dataclass
class Catalogue:
    """What a capture holds: the keys of spans by name, context and type; the metrics and their labels."""

    keys: dict  # (context, key) -> set of types
    metrics: dict  # name -> (type, is_monotonic, set of labels)

    @classmethod
    def of(cls, spans, series):
        keys = {}
        for span in spans:
            for kind, members in (("string", span.strings), ("number", span.numbers), ("bool", span.bools)):
                for key in members:
                    keys.setdefault(("attribute", key), set()).add(kind)
            for key in span.resource:
                keys.setdefault(("resource", key), set()).add("string")
        metrics = {}
        for one in series:
            _, _, labels = metrics.setdefault(one.name, (one.type, one.is_monotonic, set()))
            labels.update(one.labels)
        return cls(keys, metrics)

    def column(self, key, context=None, kind=None):
        """The SQL for a key of spans, and its type."""
        if key in COLUMNS and context in (None, "span"):
            check(kind is None or TYPES[kind] == COLUMNS[key] or key == "timestamp", f"{key} is a {COLUMNS[key]}, no {kind}")
            return key, COLUMNS[key]
        contexts = [context] if context else ["resource", "attribute"]
        found = [(at, one) for at in contexts for one in sorted(self.keys.get((at, key), ()))]
        check(found, f"no span has `{key}`" + (f" as {context}" if context else ""))
        check(len(found) == 1, f"`{key}` has several types: {found}")
        (at, one), = found
        check(kind is None or TYPES[kind] == one, f"`{key}` is a {one}, no {kind}")
        prefix = "resources" if at == "resource" else "attributes"
        return f"{prefix}_{one}['{key}']", one


def check(is_so, why):
    if not is_so:
        raise Wrong(why)


def tokens(expression):
    at, found = 0, []
    while expression[at:].strip():
        match = TOKEN.match(expression, at)
        check(match, f"`{expression[at:]}` is not understood")
        text, operator, word = match.groups()
        found.append(("text", text) if text is not None else ("operator", operator) if operator else ("word", word))
        at = match.end()
    return found


def split_brackets(found):
    for kind, text in found:
        if kind == "operator" and set(text) <= set("()"):
            yield from (("operator", char) for char in text)
        else:
            yield kind, text


def where(expression, catalogue, variables):
    """The SQL for a filter; a condition on a variable that stands for all of its values is none."""
    found, out, at = list(split_brackets(tokens(expression))), [], 0
    while at < len(found):
        kind, text = found[at]
        if (kind == "operator" and text in "()") or text.upper() in ("AND", "OR", "NOT"):
            out.append(text)
            at += 1
            continue
        check(kind == "word", f"`{text}` stands where a key should")
        column, one = catalogue.column(text)
        at += 1
        negated = found[at][1].upper() == "NOT"
        at += negated
        operator = found[at][1].upper()
        at += 1
        if operator == "EXISTS":
            held = f"mapContains({column.split('[')[0]}, '{text}')" if "[" in column else "true"
            out.append(f"NOT {held}" if negated else held)
            continue
        if found[at] == ("operator", "("):
            end = found.index(("operator", ")"), at)
            values = [item for kind, item in found[at + 1:end] if kind != "operator"]
            at = end + 1
        else:
            sort, word = found[at]
            at += 1
            if sort == "word" and word.startswith("$"):
                check(word[1:] in variables, f"{word} is no variable of the dashboard")
                out.append("true")
                continue
            expected = "string" if sort == "text" else "bool" if word in ("true", "false") else "number"
            check(one == expected, f"`{text}` is a {one} and compared with {word!r}")
            literal = quoted(word) if sort == "text" else word
            out.append(f"{column} {'NOT ' if negated else ''}{operator} {literal}")
            continue
        out.append(f"{column} {'NOT ' if negated else ''}{operator} ({', '.join(map(quoted, values))})")
    return " ".join(out) or "true"


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def aggregate(expression, catalogue):
    """The SQL for an aggregation of spans."""
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", expression)
    check(match, f"`{expression}` is not one call")
    function, argument = match.group(1), match.group(2).strip()
    if function in ("count", "rate") and not argument:
        return "count()"
    column, one = catalogue.column(argument)
    if function == "count_distinct":
        return f"uniqExact({column})"
    check(one == "number", f"`{argument}` is a {one}: there is no {function} of it")
    percentile = re.fullmatch(r"p(\d+)", function)
    if percentile:
        return f"quantile(0.{percentile.group(1)})({column})"
    check(function in ("sum", "avg", "min", "max"), f"`{function}` is not known here")
    return f"{function}({column})"


def spans(spec, catalogue, variables, window, fields=()):
    """The SQL for a builder query about spans."""
    condition = where(spec.get("filter", {}).get("expression", ""), catalogue, variables)
    groups = [catalogue.column(key["name"], key.get("fieldContext"), key.get("fieldDataType"))[0] for key in spec.get("groupBy", [])]
    if "aggregations" in spec:
        columns = groups + [aggregate(one["expression"], catalogue) for one in spec["aggregations"]]
    else:
        columns = [catalogue.column(key["name"], key.get("fieldContext"), key.get("fieldDataType"))[0] for key in fields]
    group = f" GROUP BY {', '.join(groups)}" if groups else ""
    having = "" if groups or "aggregations" not in spec else " HAVING count() > 0"
    return f"SELECT {', '.join(columns)} FROM {SPANS} WHERE {window} AND ({condition}){group}{having}"


def metrics(spec, catalogue, variables):
    """Checks a builder query about metrics, and the SQL for how many series it finds."""
    queries = []
    for one in spec["aggregations"]:
        series = one["metricName"]
        name, suffix = series, ""
        if name not in catalogue.metrics:
            suffix = next((it for it in SUFFIXES if series.endswith(it)), "")
            name = series.removesuffix(suffix)
        check(name in catalogue.metrics, f"there is no metric `{name}`")
        kind, is_monotonic, labels = catalogue.metrics[name]
        check((kind == "Histogram") == bool(suffix), f"`{name}` is a {kind} and read as `{series}`")
        time, space = one["timeAggregation"], one["spaceAggregation"]
        if suffix == ".bucket":
            check(time == "" and re.fullmatch(r"p\d+", space), f"buckets of `{name}` are read by {time} {space}")
        elif kind == "Gauge" or (kind == "Sum" and not is_monotonic) or suffix in (".min", ".max"):
            check(time in ("latest", "avg", "min", "max"), f"`{name}` goes up and down and is read by {time}")
        else:
            check(time in ("rate", "increase"), f"`{name}` only grows and is read by {time}")
        conditions = [f"metric_name = {quoted(series)}"]
        for key, operator, value in comparisons(spec.get("filter", {}).get("expression", "")):
            check(key in labels, f"`{name}` has no label `{key}`")
            if value.startswith("$"):
                check(value[1:] in variables, f"{value} is no variable of the dashboard")
            else:
                conditions.append(f"simpleJSONExtractString(labels, {quoted(key)}) {operator} {quoted(value)}")
        groups = [key["name"] for key in spec.get("groupBy", [])]
        for key in groups:
            check(key in labels, f"`{name}` has no label `{key}`")
        columns = [f"simpleJSONExtractString(labels, {quoted(key)})" for key in groups]
        head = ", ".join([*columns, "count()"])
        group = f" GROUP BY {', '.join(columns)}" if columns else " HAVING count() > 0"
        queries.append(f"SELECT {head} FROM signoz_metrics.distributed_time_series_v4 WHERE {' AND '.join(conditions)}{group}")
    return queries


def comparisons(expression):
    """The comparisons of a filter of metrics, which ours join by AND alone."""
    found = [item for item in split_brackets(tokens(expression)) if item[1].upper() != "AND"]
    check(len(found) % 3 == 0, f"`{expression}` is more than comparisons joined by AND")
    for at in range(0, len(found), 3):
        yield found[at][1], found[at + 1][1], found[at + 2][1]
