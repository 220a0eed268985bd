// Plays a script to a component that jco has transpiled, and prints what comes of each call.
//
//     component.mjs PLUGIN.js TYPES.json < CALLS.jsonl
//
// Script and output are lines of JSON with the names of the Rust types: {"function": "...", "arguments": [...]} in, a value
// out. TYPES is the component's WIT as wasm-tools writes it in JSON: by it a value is turned into what jco takes for it.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [, , pluginFile, typesFile] = process.argv;
const plugin = await import(pathToFileURL(resolve(pluginFile)));
const { types, interfaces } = JSON.parse(readFileSync(typesFile, "utf8"));

const upper = (word) => word.charAt(0).toUpperCase() + word.slice(1);
const words = (name) => name.split("-");

// How Rust and jco write the contract's names.
const rustField = (name) => words(name).join("_");
const rustCase = (name) => words(name).map(upper).join("");
const jcoField = (name) => words(name).map((word, index) => (index === 0 ? word : upper(word))).join("");

// A type as [its kind, what belongs to it].
function shape(type) {
  if (typeof type === "string") return [type, null];
  const { kind } = types[type];
  return kind.type === undefined ? Object.entries(kind)[0] : shape(kind.type);
}

const isBytes = (type) => shape(type)[0] === "u8";
const casesOf = { variant: (of) => of.cases, enum: (of) => of.cases, result: (of) => [{ name: "ok", type: of.ok }, { name: "err", type: of.err }] };

// From JSON into what jco takes.
function lower(type, value) {
  const [kind, of] = shape(type);
  switch (kind) {
    case "u64":
      return BigInt(value);
    case "record":
      return Object.fromEntries(of.fields.map(({ name, type }) => [jcoField(name), lower(type, value[rustField(name)])]));
    case "list":
      return isBytes(of) ? Uint8Array.from(value) : value.map((each) => lower(of, each));
    case "tuple":
      return of.types.map((type, index) => lower(type, value[index]));
    case "option":
      return value === null ? undefined : lower(of, value);
    case "enum":
      return of.cases.find(({ name }) => rustCase(name) === value).name;
    case "variant": {
      const [written, payload] = typeof value === "string" ? [value] : Object.entries(value)[0];
      const { name, type } = of.cases.find(({ name }) => rustCase(name) === written);
      return type == null ? { tag: name } : { tag: name, val: lower(type, payload) };
    }
    default:
      if (["string", "bool", "u8", "u16", "u32"].includes(kind)) return value;
      throw new Error(`arguments of ${kind} are not in the contract`);
  }
}

// The other way.
function lift(type, value) {
  const [kind, of] = shape(type);
  switch (kind) {
    case "u64":
      return JSON.rawJSON(String(value));
    case "record":
      return Object.fromEntries(of.fields.map(({ name, type }) => [rustField(name), lift(type, value[jcoField(name)])]));
    case "list":
      // Of numbers it is an array of their type, which JSON does not know as one.
      return Array.from(value, (each) => lift(of, each));
    case "tuple":
      return of.types.map((type, index) => lift(type, value[index]));
    case "option":
      return value === undefined ? null : lift(of, value);
    case "enum":
      return rustCase(value);
    case "variant":
    case "result": {
      const { type } = casesOf[kind](of).find(({ name }) => name === value.tag);
      const payload = type == null ? null : lift(type, value.val);
      const name = kind === "result" ? upper(value.tag) : rustCase(value.tag);
      return type == null && kind === "variant" ? name : { [name]: payload };
    }
    default:
      if (["string", "bool", "u8", "u16", "u32"].includes(kind)) return value;
      throw new Error(`results of ${kind} are not in the contract`);
  }
}

// A result is what jco returns, or what it throws.
function call(found, parameters, values, result) {
  const lowered = parameters.map(({ type }, index) => lower(type, values[index]));
  const [kind] = result == null ? [] : shape(result);
  if (kind !== "result") return result == null ? (found(...lowered), null) : lift(result, found(...lowered));
  let said;
  try {
    said = { tag: "ok", val: found(...lowered) };
  } catch (error) {
    if (!("payload" in error)) throw error;
    said = { tag: "err", val: error.payload };
  }
  return lift(result, said);
}

// Numbers of 64 bits come as they are written: as a number of JavaScript they would lose digits.
const exact = (key, value, { source }) => (typeof value === "number" && !Number.isSafeInteger(value) ? BigInt(source) : value);

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const step = JSON.parse(line, exact);
  const [within, name] = step.function.split(".");
  const { params, result } = interfaces.find((each) => each.name === within).functions[name];
  if (params.length !== step.arguments.length) throw new Error(`${step.function} takes ${params.length} arguments`);
  process.stdout.write(JSON.stringify(call(plugin[within][name], params, step.arguments, result)) + "\n");
}
