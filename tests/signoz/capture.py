"""A receiver of OTLP over HTTP that writes what it gets as lines of OTLP's JSON, a request a line.

    python capture.py --port 4318 --output capture.ndjson

It takes everything and stops at SIGTERM. Unlike oteltap it keeps the resources. Needs the package opentelemetry-proto.
"""

import argparse
import base64
import gzip
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
# What OTLP's JSON writes as hex where protobuf's writes base64.
IDS = {"traceId", "spanId", "parentSpanId"}
# Bytes of a request at most, unpacked: more than the exporter sends.
BODY_BYTES_MAX = 64 * 1024 * 1024


def with_hex_ids(value):
    if isinstance(value, list):
        return [with_hex_ids(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in IDS else with_hex_ids(item)
            for key, item in value.items()
        }
    return value


def serve(port, output):
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # noqa: N802, the name is the base class's
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = REQUESTS.get(self.path)
            if request is None:
                return self.answer(404)
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if len(body) > BODY_BYTES_MAX:
                return self.answer(413)
            message = MessageToDict(request.FromString(body))
            line = json.dumps(with_hex_ids(message), separators=(",", ":"))
            with lock:
                output.write(line + "\n")
                output.flush()
            return self.answer(200)

        def answer(self, status):
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    # Not from within the signal's handler: it would wait for the thread that it interrupts.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any that is free; it is printed")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    with open(args.output, "w", encoding="utf-8") as output:
        serve(args.port, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
