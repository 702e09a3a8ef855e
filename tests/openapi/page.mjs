// Runs the script of the page at /docs over as much of a browser as it needs, with the OpenAPI document, and holds that all
// of the document can be read on it: page.mjs SCRIPT DOCUMENT.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import vm from "node:vm";

class Element {
  constructor(name) {
    Object.assign(this, { name, attributes: {}, children: [], listeners: {}, hidden: false });
  }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  append(...children) {
    for (const child of children) {
      assert(child instanceof Element || typeof child === "string", `neither an element nor text: ${child}`);
      this.children.push(child);
    }
  }
  replaceChildren(...children) { this.children = []; this.append(...children); }
  addEventListener(event, listener) { this.listeners[event] = listener; }
  scrollIntoView() { this.isShown = true; }
  set textContent(text) { this.children = [text]; }
  get textContent() {
    return this.children.map((child) => (child instanceof Element ? child.textContent : child)).join("");
  }
  *all() {
    yield this;
    for (const child of this.children) if (child instanceof Element) yield* child.all();
  }
}

const [script, file] = process.argv.slice(2);
const api = JSON.parse(readFileSync(file, "utf8"));
const parts = Object.fromEntries(["title", "search", "contents", "main"].map((id) => [id, new Element(id)]));
const all = () => Object.values(parts).flatMap((part) => [...part.all()]);
const byId = (id) => parts[id] ?? all().find((element) => element.attributes.id === id) ?? null;
const window = {};
const location = { hash: "#operation-startRun" };

async function load(answer) {
  const context = {
    document: { createElement: (name) => new Element(name), getElementById: byId, title: "" },
    fetch: async (path) => { assert.equal(path, "openapi.json"); return answer; },
    location,
    addEventListener: (event, listener) => { window[event] = listener; },
  };
  vm.runInNewContext(readFileSync(script, "utf8"), context);
  await new Promise((done) => setTimeout(done, 0));
}

await load({ ok: true, json: async () => api });
const text = parts.main.textContent;
const operations = Object.values(api.paths).flatMap((methods) => Object.values(methods));
assert(operations.length > 20);
for (const operation of operations) {
  const view = byId(`operation-${operation.operationId}`);
  assert(view, `${operation.operationId} is not shown`);
  const shown = view.textContent;
  for (const { name } of operation.parameters ?? []) assert(shown.includes(name), `${operation.operationId} ${name}`);
  for (const status of Object.keys(operation.responses)) assert(shown.includes(status), `${operation.operationId} ${status}`);
  assert(shown.includes("curl"), operation.operationId);
}
for (const name of Object.keys(api.components.schemas)) assert(byId(`schema-${name}`), `${name} is not shown`);
for (const { attributes } of all()) {
  const target = attributes.href?.startsWith("#") ? byId(attributes.href.slice(1)) : true;
  assert(target, `${attributes.href} leads nowhere`);
}
assert(!/undefined|\[object|NaN/.test(text), text.match(/.{40}(undefined|\[object|NaN).{40}/s)?.[0]);
const start = byId("operation-startRun");
assert(start.open && start.isShown, "what the address points to is not opened");
assert(start.textContent.includes(`-d '{"input":`), start.textContent);

// A piece of an address that leads nowhere, and is not even encoded as one should be.
location.hash = "#%";
window.hashchange();
const kinds = byId("schema-ProblemType").textContent;
assert(kinds.includes("urn:skein:problem:run-not-found"), kinds);

parts.search.listeners.input({ target: { value: "Cancel RUN" } });
const left = operations.filter(({ operationId }) => !byId(`operation-${operationId}`).hidden);
assert(left.some(({ operationId }) => operationId === "cancelRun") && left.length < 8, left.map((it) => it.operationId));

await load({ ok: false, status: 503 });
assert.match(parts.main.textContent, /could not be read: status 503/);
console.log("the page shows all of the document");
