// Shows the OpenAPI document. What it says is only ever put into the page as text.
"use strict";

const METHODS = ["get", "put", "post", "patch", "delete"];
const byId = (id) => document.getElementById(id);
let api = {};

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const code = (text) => element("code", null, String(text));

/** Text with `code` in it. */
function inline(text) {
  return text.split(/(`[^`]+`)/).filter(Boolean)
    .map((part) => (part.length > 2 && part.startsWith("`") ? code(part.slice(1, -1)) : part));
}

const prose = (text) => (text ?? "").split(/\n{2,}/).filter(Boolean).map((part) => element("p", null, inline(part)));

/** What a reference leads to; anything else is itself. */
function resolve(value) {
  if (!value?.$ref?.startsWith("#/")) return value ?? {};
  const names = value.$ref.slice(2).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((found, name) => found?.[name], api) ?? {};
}

const nameOf = (reference) => reference.split("/").pop();

function join(parts, between) {
  return parts.flatMap((part, at) => (at === 0 ? part : [between, ...part]));
}

/** The type that a schema is of, as text and links. */
function typeOf(schema) {
  if (schema === undefined || schema === true) return ["any JSON"];
  if (schema.$ref) return [element("a", { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref))];
  if (schema.const !== undefined) return [code(JSON.stringify(schema.const))];
  if (schema.enum) return join(schema.enum.map((word) => [code(JSON.stringify(word))]), " | ");
  const parts = schema.oneOf ?? schema.anyOf ?? (schema.properties ? undefined : schema.allOf);
  if (parts) return join(parts.map(typeOf), schema.allOf ? " & " : " | ");
  const types = [schema.type ?? (schema.properties ? "object" : [])].flat();
  if (types.length === 0) return ["any JSON"];
  return join(types.map((type) => {
    if (type === "array") return ["list of ", ...typeOf(schema.items)];
    if (type === "object" && typeof schema.additionalProperties === "object") {
      return ["object of ", ...typeOf(schema.additionalProperties)];
    }
    return [type];
  }), " | ");
}

const LIMITS = {
  format: "format", pattern: "pattern", minLength: "at least this long", maxLength: "at most this long",
  minimum: "at least", maximum: "at most", exclusiveMinimum: "more than", minItems: "items at least",
  maxItems: "items at most", default: "default",
};

function limitsOf(schema) {
  const known = Object.entries(LIMITS).filter(([key]) => schema?.[key] !== undefined);
  if (known.length === 0) return null;
  const limits = known.map(([key, words]) => [`${words} `, code(typeof schema[key] === "string" ? schema[key] : JSON.stringify(schema[key]))]);
  return element("div", { class: "limits" }, join(limits, ", "));
}

function examplesOf({ examples = [] }) {
  if (examples.length < 2) return null;
  const known = examples.map((it) => [code(typeof it === "string" ? it : JSON.stringify(it))]);
  return element("p", { class: "type" }, "for example ", join(known, ", "));
}

function item(name, required, schema, description, where) {
  const term = element("dt", required ? { class: "required" } : null, code(name), " ");
  term.append(element("span", { class: "type" }, where ? `${where}, ` : "", typeOf(schema)));
  return [term, element("dd", null, prose(description ?? schema?.description), limitsOf(schema))];
}

/** The properties of a schema and of all that it is made of. */
function propertiesOf(schema) {
  const resolved = resolve(schema);
  const parts = (resolved.allOf ?? []).map(propertiesOf);
  const own = { properties: resolved.properties ?? {}, required: resolved.required ?? [] };
  return [...parts, own].reduce((all, part) => ({
    properties: { ...all.properties, ...part.properties }, required: [...all.required, ...part.required],
  }), { properties: {}, required: [] });
}

function properties(schema) {
  const { properties: all, required } = propertiesOf(schema);
  const names = Object.keys(all);
  if (names.length === 0) return null;
  return element("dl", null, names.map((name) => item(name, required.includes(name), all[name])));
}

/** A value that matches a schema, as short as it may be. */
function sample(schema, depth = 0) {
  const of = resolve(schema);
  if (of.const !== undefined) return of.const;
  const given = of.example ?? of.examples?.[0] ?? of.default ?? of.enum?.[0];
  if (given !== undefined) return given;
  const choice = (of.oneOf ?? of.anyOf)?.find((part) => part.type !== "null");
  if (choice && depth < 8) return sample(choice, depth + 1);
  const type = [of.type].flat().find((name) => name !== "null") ?? (of.properties ? "object" : undefined);
  if (type === "string") {
    if (of.format === "date-time") return "2030-01-31T12:00:00Z";
    if (of.format === "uuid") return "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f";
    return "text";
  }
  if (type === "integer" || type === "number") return of.minimum ?? 1;
  if (type === "boolean") return true;
  if (type === "array") return (of.minItems ?? 0) > 0 && depth < 8 ? [sample(of.items, depth + 1)] : [];
  const { properties: all, required } = propertiesOf(of);
  const names = required.length > 0 ? required : Object.keys(all).slice(0, depth === 0 ? 1 : 0);
  if (depth >= 8) return {};
  return Object.fromEntries(names.map((name) => [name, sample(all[name], depth + 1)]));
}

/** A command that calls an operation. */
function curl(method, path, operation) {
  const fill = (_, name) => {
    const parameter = (operation.parameters ?? []).find((it) => it.in === "path" && it.name === name);
    return parameter?.example ?? parameter?.schema?.example ?? `$${name.toUpperCase()}`;
  };
  const verb = method === "get" ? "" : ` -X ${method.toUpperCase()}`;
  const words = [`curl${verb} "$SKEIN_URL${path.replace(/\{([^}]+)\}/g, fill)}"`];
  const [security] = operation.security ?? api.security ?? [];
  if (security) words.push('-H "Authorization: Bearer $SKEIN_KEY"');
  const json = operation.requestBody?.content?.["application/json"];
  if (json) {
    const body = JSON.stringify(json.example ?? sample(json.schema)).replaceAll("'", "'\\''");
    words.push("-H 'Content-Type: application/json'", `-d '${body}'`);
  }
  return words.join(" \\\n  ");
}

function content(media) {
  return Object.entries(media ?? {}).map(([type, { schema }]) => [
    element("p", { class: "type" }, code(type), " ", typeOf(schema)),
  ]);
}

function answers(operation) {
  return element("dl", null, Object.entries(operation.responses ?? {}).map(([status, answer]) => {
    const { description, headers, content: media } = resolve(answer);
    const named = Object.entries(headers ?? {}).map(([name, header]) =>
      element("p", null, "Header ", code(name), inline(header.description ? `: ${header.description}` : "")));
    return [element("dt", null, code(status)), element("dd", null, prose(description), named, content(media))];
  }));
}

function operationView(method, path, operation) {
  const { operationId: id, parameters = [], requestBody: body } = operation;
  const parts = [prose(operation.description)];
  if (parameters.length > 0) {
    parts.push(element("h4", null, "Parameters"), element("dl", null, parameters.map((given) => {
      const { name, in: where, required, schema, description } = resolve(given);
      return item(name, required, schema, description, where);
    })));
  }
  if (body) {
    parts.push(element("h4", null, body.required ? "Body, required" : "Body"), prose(body.description), content(body.content));
    parts.push(properties(Object.values(body.content)[0]?.schema));
  }
  parts.push(element("h4", null, "Example"), element("pre", null, code(curl(method, path, operation))));
  parts.push(element("h4", null, "Answers"), answers(operation));
  const head = element("summary", null, element("span", { class: `method ${method}` }, method), code(path),
    element("span", { class: "brief" }, inline(operation.summary ?? "")));
  return element("details", { id: `operation-${id}` }, head, element("div", null, parts));
}

function schemaView(name, schema) {
  const head = element("summary", null, code(name));
  const type = schema.properties ? null : element("p", { class: "type" }, typeOf(schema));
  const inside = [prose(schema.description), type, limitsOf(schema), examplesOf(schema), properties(schema)];
  return element("details", { id: `schema-${name}` }, head, element("div", null, inside));
}

function operationsOf(tag) {
  return Object.entries(api.paths ?? {}).flatMap(([path, methods]) => METHODS.filter((method) => methods[method])
    .map((method) => [method, path, methods[method]]))
    .filter(([, , operation]) => (operation.tags?.[0] ?? "other") === tag);
}

const link = (id, ...text) => element("a", { href: `#${id}` }, ...text);

/** All of the page; returns what can be searched: an operation's view, its link, its words. */
function show() {
  const main = byId("main"), contents = byId("contents"), found = [];
  document.title = byId("title").textContent = `${api.info.title} ${api.info.version}`;
  main.replaceChildren(...prose(api.info.description));
  const known = (api.tags ?? []).map((tag) => tag.name);
  const used = Object.values(api.paths ?? {}).flatMap((methods) => METHODS.map((method) => methods[method])
    .filter(Boolean).map((operation) => operation.tags?.[0] ?? "other"));
  for (const tag of new Set([...known, ...used])) {
    const section = element("section", null, element("h2", null, tag));
    section.append(...prose(api.tags?.find((it) => it.name === tag)?.description));
    contents.append(element("h2", null, tag));
    for (const [method, path, operation] of operationsOf(tag)) {
      const view = operationView(method, path, operation);
      const entry = link(`operation-${operation.operationId}`, element("span", { class: `method ${method}` }, method), path);
      const words = [method, path, operation.operationId, operation.summary, operation.description,
        ...(operation.parameters ?? []).map((it) => it.name)];
      found.push({ view, entry, words: words.join(" ").toLowerCase() });
      section.append(view);
      contents.append(entry);
    }
    main.append(section);
  }
  const schemas = Object.entries(api.components?.schemas ?? {}).sort(([one], [other]) => one.localeCompare(other));
  const section = element("section", { id: "schemas" }, element("h2", null, "Schemas"));
  section.append(...schemas.map(([name, schema]) => schemaView(name, schema)));
  contents.append(element("h2", null, link("schemas", "Schemas")));
  main.append(section);
  return found;
}

/** Opens what the address points to. */
function reveal() {
  // As it is written there: no identifier of this page has a character that an address would encode.
  const target = byId(location.hash.slice(1));
  if (!target) return;
  target.open = true;
  target.scrollIntoView();
}

async function start() {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  api = await answer.json();
  const found = show();
  byId("search").addEventListener("input", ({ target }) => {
    const wanted = target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { view, entry, words } of found) {
      view.hidden = entry.hidden = !wanted.every((word) => words.includes(word));
    }
  });
  addEventListener("hashchange", reveal);
  reveal();
}

start().catch((error) => {
  byId("main").replaceChildren(element("p", { role: "alert" }, `The document could not be read: ${error.message}`));
});
