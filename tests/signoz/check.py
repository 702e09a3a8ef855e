"""Runs the queries of all panels and rules over captured OTLP, in a ClickHouse within the process.

    python check.py CAPTURE [--deploy deploy/signoz] [--may-be-empty PLACE ...] [--spans-only]

SQL has to find something, and what expected.py computes from the same spans without SQL. Queries of the builder have to name keys and
metrics that the capture holds, with their types and in a way that fits them, and find something too. A PLACE is
`dashboards/FILE#PANEL` or `rules/FILE`; what may be empty must still be right. Needs the package chdb. Exit code 1 says that something is
wrong, and standard output what.
"""

import argparse
import datetime
import json
import math
import re
import sys
from pathlib import Path

from chdb import session as chdb

import builder
import expected
import otlp

HERE = Path(__file__).parent
# Around the capture, so that nothing lies on the edge.
MARGIN = 60
KINDS = {"signoz/BuilderQuery": "builder_query", "signoz/ClickHouseSQL": "clickhouse_sql", "signoz/Formula": "builder_formula"}
# Compares with the day before, of which there is nothing in a capture.
YESTERDAY = "rules/run-p95.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture")
    parser.add_argument("--deploy", default=HERE.parent.parent / "deploy" / "signoz", type=Path)
    parser.add_argument("--may-be-empty", nargs="*", default=[], metavar="PLACE")
    parser.add_argument("--spans-only", action="store_true", help="leave queries about metrics out")
    args = parser.parse_args()
    spans, series = otlp.read(args.capture)
    if not spans:
        print(f"{args.capture} holds no span")
        return 1
    checker = Checker(spans, series)
    wrong = 0
    for place, kind, spec, document in queries(args.deploy):
        if kind == "builder_formula" or (args.spans_only and spec.get("signal") == "metrics"):
            continue
        try:
            found = checker.check(place, kind, spec, document)
            builder.check(found or place in args.may_be_empty, "it finds nothing")
            print(f"ok     {place}: {found} rows")
        except builder.Wrong as error:
            wrong += 1
            print(f"wrong  {place}: {error}")
        except RuntimeError as error:
            wrong += 1
            print(f"wrong  {place}: ClickHouse says {str(error).splitlines()[0][:400]}")
    unknown = [place for place in expected.PLACES if place not in checker.seen]
    for place in unknown:
        wrong += 1
        print(f"wrong  {place}: expected.py knows it and there is none")
    print(f"{len(spans)} spans, {len(series)} series, {wrong} wrong")
    return 1 if wrong else 0


def queries(directory):
    """All queries with their places; of a list panel also its fields."""
    for path in sorted(directory.glob("dashboards/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for name, panel in document["spec"]["panels"].items():
            place = f"dashboards/{path.name}#{name}"
            plugin = panel["spec"]["queries"][0]["spec"]["plugin"]
            panel_spec = panel["spec"]["plugin"]["spec"]
            if plugin["kind"] == "signoz/CompositeQuery":
                for query in plugin["spec"]["queries"]:
                    yield place, query["type"], {**query["spec"], "panel": panel_spec}, document
            else:
                yield place, KINDS[plugin["kind"]], {**plugin["spec"], "panel": panel_spec}, document
    for path in sorted(directory.glob("rules/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for query in document["condition"]["compositeQuery"]["queries"]:
            yield f"rules/{path.name}", query["type"], {**query["spec"], "panel": {}}, document


class Checker:
    def __init__(self, spans, series):
        self.spans, self.seen = spans, set()
        self.catalogue = builder.Catalogue.of(spans, series)
        self.session = chdb.Session()
        for statement in re.sub(r"--[^\n]*", "", (HERE / "tables.sql").read_text(encoding="utf-8")).split(";"):
            if statement.strip():
                self.session.query(statement)
        otlp.insert_spans(self.session, spans)
        otlp.insert_metrics(self.session, series)
        start = min(span.start for span in spans) // 1_000_000_000 - MARGIN
        end = max(span.start + span.duration for span in spans) // 1_000_000_000 + MARGIN
        self.times = {
            "start_timestamp": str(start), "end_timestamp": str(end),
            "start_datetime": f"toDateTime({start})", "end_datetime": f"toDateTime({end})",
        }

    def check(self, place, kind, spec, document):
        """How many rows the query finds."""
        variables = {one["spec"]["name"] for one in document.get("spec", {}).get("variables", [])}
        if kind == "clickhouse_sql":
            return self.sql(place, spec)
        if spec["signal"] == "metrics":
            return sum(len(self.run(query)) for query in builder.metrics(spec, self.catalogue, variables))
        window = (f"timestamp >= {self.times['start_datetime']} AND timestamp <= {self.times['end_datetime']}")
        fields = spec["panel"].get("selectFields", [])
        return len(self.run(builder.spans(spec, self.catalogue, variables, window, fields)))

    def sql(self, place, spec):
        self.seen.add(place)
        if place == YESTERDAY:
            today, before = expected.slowed(self.spans)
            otlp.insert_spans(self.session, today + before)
            compute = lambda spans: expected.run_p95(spans + today, before)
        else:
            compute = expected.PLACES.get(place)
            builder.check(compute, "expected.py does not know what is right")
        text = re.sub(r"\$(\w+)", lambda match: self.times[match.group(1)], spec["query"])
        found = self.run(text)
        for row in found:
            for label in re.findall(r"{{([^}]+)}}", spec.get("legend", "")):
                builder.check(label in row, f"its legend names {label}, and there is no such column")
        compare(found, compute(self.spans), int(limit.group(1)) if (limit := re.search(r"LIMIT (\d+)$", text)) else None)
        return len(found)

    def run(self, query):
        answer = self.session.query(query, "JSON").bytes()
        return json.loads(answer)["data"] if answer else []


def compare(found, right, limit):
    """Whether the rows are those, in whatever order, as far as those say."""
    if limit is None or len(right) <= limit:
        builder.check(len(found) == len(right), f"{len(found)} rows instead of {len(right)}")
    left = list(right)
    for row in found:
        match = next((one for one in left if all(same(row.get(name), value) for name, value in one.items())), None)
        builder.check(match is not None, f"this row is not right: {row}; left are {left[:3]}")
        left.remove(match)


def same(found, value):
    if isinstance(found, str) and isinstance(value, (int, float)):
        # Large integers come as text, and so do times.
        if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", found):
            found = datetime.datetime.fromisoformat(found).replace(tzinfo=datetime.timezone.utc).timestamp()
        found = float(found)
    if isinstance(value, (int, float)):
        return found is not None and math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-9)
    return found == value


if __name__ == "__main__":
    sys.exit(main())
