"""A client that was generated from the OpenAPI document runs a workflow: client.py URL KEY.

The package `skein_client` is looked for where PYTHONPATH says.
"""

import importlib
import pkgutil
import sys

import httpx
import skein_client
from skein_client import AuthenticatedClient
from skein_client.api.runs import get_run, get_run_logs, start_run
from skein_client.api.workflows import list_workflows, publish_workflow
from skein_client.models import (
    Problem,
    RunStatus,
    StartRun,
    TransformNode,
    TransformParams,
    WorkflowDocument,
)

for module in pkgutil.walk_packages(skein_client.__path__, "skein_client."):
    importlib.import_module(module.name)

url, key = sys.argv[1:]
timeout = httpx.Timeout(60.0)
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True, timeout=timeout)

node = TransformNode(id="one", type_="transform", params=TransformParams(value="{{ 1 + 1 }}"))
document = WorkflowDocument(name="generated", nodes=[node], output="{{ nodes.one }}")
published = publish_workflow.sync_detailed(client=client, body=document)
assert published.status_code == 201, published
assert published.parsed.version == 1, published

names = [workflow.name for workflow in list_workflows.sync(client=client).items]
assert "generated" in names, names

run = start_run.sync("generated", client=client, body=StartRun(), wait=30.0)
assert run.status == RunStatus.SUCCEEDED, run
assert run.output == 2, run
assert get_run.sync(run.id, client=client).trace_id == run.trace_id
assert get_run_logs.sync(run.id, client=client, limit=10).items

# A refusal is read as what it is.
missing = start_run.sync_detailed("nothing", client=client, body=StartRun())
assert missing.status_code == 404, missing
assert isinstance(missing.parsed, Problem), missing
assert missing.parsed.type_ == "urn:skein:problem:workflow-not-found", missing.parsed

print("the generated client runs a workflow")
