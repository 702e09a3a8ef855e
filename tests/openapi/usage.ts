// What a client is told by the types that are generated from the OpenAPI document: it compiles, and what must not compile
// is marked.
import type { components, operations, paths } from "./schema";

type Schemas = components["schemas"];

const document: Schemas["WorkflowDocument"] = {
  name: "digest",
  nodes: [
    { id: "fetch", type: "http", params: { url: "https://example.com" }, retry: { max_attempts: 3 } },
    { id: "tell", type: "log", params: { message: "{{ nodes.fetch.status }}" } },
  ],
  edges: [{ from: "fetch", to: "tell", when: true }],
};
// @ts-expect-error there is no such kind of node
const unknownKind: Schemas["WorkflowNode"] = { id: "a", type: "htpp", params: {} };
// @ts-expect-error a log node has a message
const missing: Schemas["LogNode"] = { id: "a", type: "log", params: {} };

type Start = NonNullable<operations["startRun"]["requestBody"]>["content"]["application/json"];
const start: Start = { input: { url: "https://example.com" }, budget: { max_usd: 1 } };

type Ended = paths["/v1/workflows/{name}/runs"]["post"]["responses"]["200"]["content"]["application/json"];
function summary(run: Ended): string {
  const status: Schemas["RunStatus"] = run.status;
  return `${run.id} ${status} ${run.error?.code ?? ""} ${run.nodes.map((node) => node.node).join(" ")}`;
}

type Refused = paths["/v1/runs/{id}"]["get"]["responses"]["404"]["content"]["application/problem+json"];
function about(problem: Refused): string {
  return `${problem.type} ${(problem.errors ?? []).map((error) => error.message).join(" ")}`;
}

export { about, document, missing, start, summary, unknownKind };
