"""That check.py finds what is wrong: it is only worth as much as it refuses."""

import unittest

import builder
import check
import expected
import otlp


def span(number, **changes):
    given = {
        "trace_id": f"{number:032x}", "span_id": f"{number:016x}", "parent_span_id": "", "name": "workflow.execute",
        "kind": "Internal", "start": 1_700_000_000_000_000_000 + number, "duration": 1_000_000 * number, "status": 0, "message": "",
        "strings": {"workflow.id": "w", "workflow.status": "completed"}, "numbers": {"workflow.version": 1},
        "bools": {"workflow.step_mode": False}, "resource": {"service.name": "skein-worker"},
    }
    return otlp.Span(**{**given, **changes})


def series(name, kind, is_monotonic=False, labels=()):
    values = {".count": 1, ".sum": 1.0, ".bucket": {"1": 0, "+Inf": 1}} if kind == "Histogram" else {"": 1.0}
    return otlp.Metric(name, kind, is_monotonic, "Cumulative", dict(labels), [(1_700_000_000_000, values)])


SPANS = [span(number) for number in range(1, 13)] + [
    span(13, status=2, strings={"workflow.id": "w", "workflow.status": "failed"})]
SERIES = [
    series("a.gauge", "Gauge", labels={"state": "x"}), series("a.counter", "Sum", True), series("a.level", "Sum"),
    series("a.histogram", "Histogram"),
]


class Builder(unittest.TestCase):
    catalogue = builder.Catalogue.of(SPANS, SERIES)

    def refused(self, said, call, *args):
        with self.assertRaisesRegex(builder.Wrong, said):
            call(*args)

    def test_keys_exist_with_their_types(self):
        def where(expression):
            return builder.where(expression, self.catalogue, {"svc"})

        self.assertEqual(
            where("service.name IN $svc AND workflow.id = 'w' AND (has_error = true OR workflow.version >= 2)"),
            "true AND attributes_string['workflow.id'] = 'w' AND ( has_error = true OR attributes_number['workflow.version'] >= 2 )")
        self.assertEqual(where("workflow.id NOT EXISTS"), "NOT mapContains(attributes_string, 'workflow.id')")
        self.refused("no span has `workflow.name`", where, "workflow.name = 'w'")
        self.refused("is a number and compared", where, "workflow.version = '1'")
        self.refused("is a bool and compared", where, "workflow.step_mode = 'false'")
        self.refused("is no variable", where, "service.name IN $service")
        self.refused("there is no p95 of it", builder.aggregate, "p95(workflow.id)", self.catalogue)

    def test_metrics_are_read_as_what_they_are(self):
        def read(name, time, space, group=()):
            spec = {"aggregations": [{"metricName": name, "timeAggregation": time, "spaceAggregation": space}],
                    "groupBy": [{"name": key} for key in group]}
            return builder.metrics(spec, self.catalogue, set())

        for right in (("a.gauge", "latest", "max", ["state"]), ("a.counter", "rate", "sum"), ("a.level", "latest", "sum"),
                      ("a.histogram.bucket", "", "p95"), ("a.histogram.count", "rate", "sum")):
            self.assertEqual(len(read(*right)), 1, right)
        self.refused("there is no metric `b`", read, "b", "latest", "max")
        self.refused("has no label `status`", read, "a.gauge", "latest", "max", ["status"])
        self.refused("goes up and down", read, "a.gauge", "rate", "sum")
        self.refused("goes up and down", read, "a.level", "increase", "sum")
        self.refused("only grows", read, "a.counter", "latest", "max")
        self.refused("is a Histogram", read, "a.histogram", "latest", "max")
        self.refused("buckets", read, "a.histogram.bucket", "rate", "sum")


class Sql(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.checker = check.Checker(SPANS, SERIES)

    def ratio(self, value):
        query = (
            f"SELECT $end_datetime AS ts, attributes_string['workflow.id'] AS workflow, {value} AS value "
            "FROM signoz_traces.distributed_signoz_index_v3 WHERE timestamp >= $start_datetime AND timestamp <= $end_datetime "
            "AND name = 'workflow.execute' GROUP BY workflow")
        return self.checker.check("rules/failure-ratio.json", "clickhouse_sql", {"query": query, "legend": "{{workflow}}"}, {})

    def test_only_what_is_computed_from_the_spans_is_right(self):
        self.assertEqual(expected.failure_ratio(SPANS), [{"workflow": "w", "value": 100 / 13}])
        self.assertEqual(self.ratio("countIf(has_error) * 100 / count()"), 1)
        with self.assertRaisesRegex(builder.Wrong, "is not right"):
            self.ratio("countIf(has_error) / count()")

    def test_what_nobody_computes_is_not_taken_for_right(self):
        with self.assertRaisesRegex(builder.Wrong, "does not know what is right"):
            self.checker.check("dashboards/x.json#y", "clickhouse_sql", {"query": "SELECT 1"}, {})

    def test_missing_and_additional_rows_are_noticed(self):
        for found in ([], [{"a": 1}, {"a": 2}, {"a": 3}], [{"a": 1}, {"a": 1}]):
            with self.assertRaises(builder.Wrong):
                check.compare(found, [{"a": 1}, {"a": 2}], None)
        check.compare([{"a": "2", "b": 7}, {"a": 1.0000000001}], [{"a": 1}, {"a": 2}], None)
        check.compare([{"a": 1}], [{"a": 1}, {"a": 2}], 1)


if __name__ == "__main__":
    unittest.main()
