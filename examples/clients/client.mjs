// A DSPex client in plain JavaScript for Node 20, written from docs/protocol.md, to be read and copied.
//
//   node client.mjs                                goes through the protocol against DSPEX_COMMAND
//   node client.mjs --vectors protocol/vectors     holds the codec against the golden bytes

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

const [CALL, REPLY, FAIL, ITEM, CANCEL, CREDIT, NOTE] = [0, 1, 2, 3, 4, 5, 6];
const LARGEST_FRAME = 2 ** 24, DEEPEST = 64, MOST_ITEMS = 2 ** 20;

// Bytes, a value or a call that was refused; `code` is one of docs/errors.md.
class Failed extends Error {
  constructor(code, message = "", details = {}) {
    super(`${code}: ${message}`);
    Object.assign(this, { code, details });
  }
}

// An extension that this client does not look into: an instant, a decimal, a tensor, a name.
class Ext {
  constructor(code, data) { Object.assign(this, { code, data }); }
}

// Extension 5; a prediction is one.
class Tagged {
  constructor(tag, value) { Object.assign(this, { tag, value }); }
}

// --- Values (section 3) and bodies (section 2) -----------------------------------------------------------
// An integer is a number as far as numbers are exact, and a BigInt beyond; so 1.0 is written as 1.

function bigEndian(number, size) {
  return Buffer.from(BigInt.asUintN(8 * size, BigInt(number)).toString(16).padStart(2 * size, "0"), "hex");
}

// The shortest of the headers that follow each other from `first`, one for each size of `number`.
function sized(number, first, ...sizes) {
  const place = sizes.findIndex((size) => number < 2 ** (8 * size));
  if (place < 0) throw new Failed("value_unencodable");
  return Buffer.concat([Buffer.of(first + place), bigEndian(number, sizes[place])]);
}

function integer(value) {
  if (value >= -32 && value < 128) return Buffer.of(Number(value) & 0xff);
  const wide = BigInt(value);
  if (wide >= 0n && wide < 1n << 64n) return sized(wide, 0xcc, 1, 2, 4, 8);
  const fits = (size) => BigInt.asIntN(8 * size, wide) === wide;
  const place = [1, 2, 4, 8].findIndex(fits);
  if (place >= 0) return Buffer.concat([Buffer.of(0xd0 + place), bigEndian(wide, 2 ** place)]);
  let size = 9;
  while (!fits(size)) size += 1;
  return encode(new Ext(1, bigEndian(wide, size)));
}

// One value in its shortest form; keys in order, so that equal values have equal bytes.
function encode(value) {
  if (value === null || value === undefined) return Buffer.of(0xc0);
  if (typeof value === "boolean") return Buffer.of(value ? 0xc3 : 0xc2);
  if (typeof value === "bigint") return integer(value);
  if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return integer(value);
    const data = Buffer.alloc(9, 0xcb);
    data.writeDoubleBE(value, 1);
    return data;
  }
  if (typeof value === "string") {
    const data = Buffer.from(value);
    const head = data.length < 32 ? Buffer.of(0xa0 | data.length) : sized(data.length, 0xd9, 1, 2, 4);
    return Buffer.concat([head, data]);
  }
  if (Buffer.isBuffer(value)) return Buffer.concat([sized(value.length, 0xc4, 1, 2, 4), value]);
  if (Array.isArray(value)) {
    const head = value.length < 16 ? Buffer.of(0x90 | value.length) : sized(value.length, 0xdc, 2, 4);
    return Buffer.concat([head, ...value.map(encode)]);
  }
  if (value instanceof Tagged) return encode(new Ext(5, encode([value.tag, value.value])));
  if (value instanceof Ext) {
    const place = [1, 2, 4, 8, 16].indexOf(value.data.length);
    const head = place >= 0 ? Buffer.of(0xd4 + place) : sized(value.data.length, 0xc7, 1, 2, 4);
    return Buffer.concat([head, Buffer.of(value.code & 0xff), value.data]);
  }
  const pairs = Object.entries(value).map(([key, item]) => [Buffer.from(key), encode(key), encode(item)]);
  pairs.sort(([one], [other]) => Buffer.compare(one, other));
  const head = pairs.length < 16 ? Buffer.of(0x80 | pairs.length) : sized(pairs.length, 0xde, 2, 4);
  return Buffer.concat([head, ...pairs.flatMap(([, key, item]) => [key, item])]);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// Reads values one after the other, and believes no length before it was checked.
class Decoder {
  constructor(data) { Object.assign(this, { data, at: 0, end: data.length, items: 0 }); }

  take(size) {
    if (size > this.end - this.at) throw new Failed("value_truncated");
    this.at += size;
    return this.data.subarray(this.at - size, this.at);
  }

  number(size, signed = false) {
    const data = this.take(size);
    if (size <= 4) return signed ? data.readIntBE(0, size) : data.readUIntBE(0, size);
    const wide = BigInt(`0x${data.toString("hex")}`);
    const value = signed ? BigInt.asIntN(8 * size, wide) : wide;
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  value(depth = 0) {
    this.items += 1;
    if (this.items > MOST_ITEMS) throw new Failed("value_too_many_items");
    const byte = this.number(1);
    if (byte < 0x80 || byte >= 0xe0) return byte < 0x80 ? byte : byte - 256;
    if (byte < 0x90) return this.map(byte & 15, depth + 1);
    if (byte < 0xa0) return this.array(byte & 15, depth + 1);
    if (byte < 0xc0) return this.text(byte & 31);
    if (byte === 0xc1) throw new Failed("value_reserved_byte");
    if (byte < 0xc4) return [null, null, false, true][byte - 0xc0];
    if (byte < 0xc7) return Buffer.from(this.take(this.number(1 << (byte - 0xc4))));
    if (byte < 0xca) return this.extension(this.number(1 << (byte - 0xc7)), depth);
    if (byte === 0xca) return this.take(4).readFloatBE();
    if (byte === 0xcb) return this.take(8).readDoubleBE();
    if (byte < 0xd4) return this.number(1 << (byte & 3), byte >= 0xd0);
    if (byte < 0xd9) return this.extension(1 << (byte - 0xd4), depth);
    if (byte < 0xdc) return this.text(this.number(1 << (byte - 0xd9)));
    if (byte < 0xde) return this.array(this.number(2 << (byte - 0xdc)), depth + 1);
    return this.map(this.number(2 << (byte - 0xde)), depth + 1);
  }

  text(size) {
    const data = this.take(size);
    try {
      return utf8.decode(data);
    } catch {
      throw new Failed("value_bad_utf8");
    }
  }

  array(count, depth) {
    if (depth > DEEPEST) throw new Failed("value_too_deep");
    const items = []; // grows with what is there, not with what was promised
    for (let index = 0; index < count; index += 1) items.push(this.value(depth));
    return items;
  }

  map(count, depth) {
    if (depth > DEEPEST) throw new Failed("value_too_deep");
    const pairs = Object.create(null); // where `__proto__` is a key like any other
    for (let index = 0; index < count; index += 1) {
      const key = this.value(depth);
      if (typeof key !== "string") throw new Failed("value_bad_key");
      if (key in pairs) throw new Failed("value_duplicate_key");
      pairs[key] = this.value(depth);
    }
    return pairs;
  }

  // A tagged value is read where it stands, so that the limits hold for what is in it as well.
  extension(size, depth) {
    const code = this.number(1, true);
    const data = Buffer.from(this.take(size));
    if (![-1, 1, 2, 3, 4, 5].includes(code)) throw new Failed("value_unknown_extension");
    if (code === 1 && size >= 1 && size <= 4096) {
      this.at -= size;
      return this.number(size, true);
    }
    if (code !== 5) return new Ext(code, data);
    const outer = this.end;
    [this.at, this.end] = [this.at - size, this.at];
    const content = this.value(depth);
    const whole = this.at === this.end && Array.isArray(content) && content.length === 2;
    this.end = outer;
    const [tag, value] = whole ? content : [];
    const length = typeof tag === "string" ? Buffer.byteLength(tag) : 0;
    if (length < 1 || length > 64) throw new Failed("value_bad_extension");
    return new Tagged(tag, value);
  }
}

function decode(data) {
  const decoder = new Decoder(data);
  const value = decoder.value();
  if (decoder.at !== decoder.end) throw new Failed("value_trailing");
  return value;
}

// The payload stays bytes, so that a bad one fails only its own call.
function decodeBody(body) {
  const decoder = new Decoder(body);
  if (decoder.take(1)[0] !== 0x95) throw new Failed("envelope_invalid");
  const envelope = [1, 1, 1, 1].map((depth) => decoder.value(depth));
  return [...envelope, body.subarray(decoder.at)];
}

// --- Calls (sections 4 to 6) -----------------------------------------------------------------------------

class Client {
  #ours = new Map(); // id: what to do with an ITEM and with the end
  #theirs = new Map(); // id: what ends the function early
  #lastId = 0;

  // `functions` are what the server may call: with the arguments, the id of its call, and a signal.
  constructor(functions) {
    this.functions = functions;
    const [command, ...args] = (process.env.DSPEX_COMMAND ?? "dspex serve").split(/\s+/);
    this.server = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.server.stdin.on("error", () => {}); // a server that has gone is noticed by its output's end
    this.exited = once(this.server, "exit");
    this.closed = this.#read().finally(() => {
      const lost = new Failed("connection_lost", "the server has gone");
      for (const call of this.#ours.values()) call.reject(lost);
    });
    this.closed.catch(() => this.server.kill("SIGKILL")); // what it wrote was no frame
  }

  send(kind, id, method = null, meta = {}, payload = null) {
    const body = encode([kind, id, method, meta, payload]);
    this.server.stdin.write(Buffer.concat([bigEndian(body.length, 4), body]));
  }

  // A promise of the REPLY's value, with a `cancel` beside it.
  call(method, payload, meta = {}, onItem = () => {}) {
    const id = (this.#lastId += 1);
    const promise = new Promise((resolve, reject) => this.#ours.set(id, { resolve, reject, onItem }));
    this.send(CALL, id, method, meta, payload);
    return Object.assign(promise, { cancel: () => this.send(CANCEL, id) });
  }

  async #read() {
    let buffered = Buffer.alloc(0);
    for await (const chunk of this.server.stdout) {
      buffered = Buffer.concat([buffered, chunk]);
      while (buffered.length >= 4) {
        const size = buffered.readUInt32BE();
        if (size > LARGEST_FRAME) throw new Failed("frame_too_large");
        if (buffered.length < 4 + size) break;
        this.#take(...decodeBody(buffered.subarray(4, 4 + size)));
        buffered = buffered.subarray(4 + size);
      }
    }
  }

  #take(kind, id, method, meta, payload) {
    if (kind === NOTE) console.log(`  note ${method}:`, decode(payload));
    if (kind === CALL) this.#serve(id, method, payload);
    if (kind === CANCEL) this.#theirs.get(id)?.abort();
    const call = this.#ours.get(id);
    if (![REPLY, FAIL, ITEM].includes(kind) || !call) return; // what is not open has lost a race
    try {
      const value = decode(payload);
      if (kind === ITEM) {
        call.onItem(value);
        return this.send(CREDIT, id, null, { n: 1 }); // for the one that was dealt with
      }
      if (kind === REPLY) call.resolve(value);
      else call.reject(new Failed(value?.code ?? "internal", value?.message, value?.details ?? {}));
    } catch (error) {
      call.reject(error);
    }
    if (kind !== ITEM) this.#ours.delete(id);
  }

  async #serve(id, method, payload) {
    const control = new AbortController();
    this.#theirs.set(id, control);
    try {
      if (method !== "function.call") throw new Failed("unknown_method", `a client has no ${method}`);
      const { function: name, args } = decode(payload);
      if (!Object.hasOwn(this.functions, name)) throw new Failed("unknown_function", `there is no ${name}`);
      this.send(REPLY, id, null, {}, await this.functions[name](this, args, id, control.signal));
    } catch (error) {
      const code = control.signal.aborted ? "cancelled" : error.code ?? "function_failed";
      this.send(FAIL, id, null, {}, { code, message: error.message });
    }
    this.#theirs.delete(id);
  }

  // End of file tells the server that we are gone; one that stays is killed.
  async close() {
    this.server.stdin.end();
    const killer = setTimeout(() => this.server.kill("SIGKILL"), 10_000);
    const [code] = await this.exited;
    clearTimeout(killer);
    return code;
  }
}

// --- A walk through the protocol -------------------------------------------------------------------------

const SPEC = { module: "Predict", signature: "question: str -> answer: str" };
const TYPED = {
  module: "ChainOfThought",
  signature: "review: str -> stars: int, mood: literal['glad', 'sad']",
};
const ask = (question, more = {}) => ({ inputs: { question }, spec: SPEC, ...more });
const failed = (promise) => promise.then(() => assert.fail("expected a FAIL"), (error) => error);

async function walk() {
  let entered = () => {};
  const functions = {
    // A language model that has another one answer, in a call made within the server's call `id`.
    async relay(client, args, id) {
      console.log(`  ${args.model} was called, and asks in its turn`);
      const inner = await client.call("program.predict", ask("What would you say?"), { parent: id });
      // The text that a model would write, which is what the adapter asked for: here `json`.
      return JSON.stringify({ answer: `relayed ${inner.value.fields.answer}` });
    },
    // A language model that never answers, for what has to end early.
    sleep(client, args, id, signal) {
      entered();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
    },
  };
  const client = new Client(functions);
  const predict = (...args) => client.call("program.predict", ...args);
  let code;
  try {
    const lms = { default: { model: process.env.DSPEX_LM ?? "sim/demo" } };
    for (const name of Object.keys(functions)) lms[name] = { model: `host/${name}` };
    const hello = { protocol: "dspex", versions: [1], functions: Object.keys(functions), lms };
    const welcome = await client.call("system.hello", hello);
    assert.equal(welcome.protocol, "dspex", "something else writes to the wire");
    console.log(`hello: ${welcome.server}, protocol ${welcome.version}`);
    console.log(`ping: ${await client.call("system.ping", "are you there?")}`);

    const typed = await predict({ inputs: { review: "It broke after two days." }, spec: TYPED });
    console.log("typed:", typed.value.fields.stars, typed.value.fields.mood);

    // Each question is asked twice, so that an answer given to the wrong call would show.
    const calls = Array.from({ length: 50 }, (_, number) => predict(ask(`What is ${number % 25}?`)));
    const answers = (await Promise.all(calls)).map((prediction) => prediction.value.fields.answer);
    const alike = answers.every((answer, number) => answer === answers[number % 25]);
    console.log(`pipelined: ${answers.length} answers, each to its question: ${alike}`);

    const items = [];
    const whole = await predict(ask("Tell me more."), { credit: 2 }, (item) => items.push(item));
    const text = items.map((item) => (item.type === "token" ? item.text : "")).join("");
    console.log(`streamed: ${items.length} items, all there: ${text === whole.value.fields.answer}`);

    const relayed = await predict(ask("Whom?", { lm: "relay", adapter: "json" }));
    console.log(`callback: ${relayed.value.fields.answer}`);

    const late = await failed(predict(ask("Now!", { lm: "sleep" }), { deadline_ms: 300 }));
    console.log(`deadline: ${late.code}`);

    const inside = new Promise((resolve) => { entered = resolve; });
    const dropped = predict(ask("Never mind.", { lm: "sleep" }));
    await inside;
    dropped.cancel();
    console.log(`cancel: ${(await failed(dropped)).code}`);

    const { field, expected, got } = (await failed(predict(ask("?", { adapter: "yaml" })))).details;
    console.log(`bad argument: ${field}: expected ${expected}, got ${got}`);

    await client.call("system.goodbye", {});
  } finally {
    code = await client.close();
  }
  console.log(`goodbye: the server ended with ${code}`);
}

// --- The golden vectors (protocol/vectors/README.md) -----------------------------------------------------

const LEFT_OUT = Symbol("a value that this client does not have");
const NOTATION = {
  $int: BigInt,
  $float: (of) => ({ nan: NaN, inf: Infinity, "-inf": -Infinity })[of] ?? Number(of),
  $bin: (of) => Buffer.from(of, "hex"),
  $text: ([text, count]) => text.repeat(count),
  $bytes: ([text, count]) => Buffer.from(text.repeat(count), "hex"),
  $list: ([item, count]) => Array(count).fill(meaning(item)),
  $map: (pairs) => Object.fromEntries(pairs.map(([key, item]) => [key, meaning(item)])),
  $function: (name) => new Ext(4, Buffer.from(name)),
  $tagged: ([tag, value]) => new Tagged(tag, meaning(value)),
};

// The value that a vector's JSON stands for.
function meaning(note) {
  if (Array.isArray(note)) return note.map(meaning);
  if (note === null || typeof note !== "object") return note;
  const [name] = Object.keys(note);
  if (!name?.startsWith("$")) return NOTATION.$map(Object.entries(note));
  if (!(name in NOTATION)) throw LEFT_OUT;
  return NOTATION[name](note[name]);
}

// Whether the codec agrees with one vector; LEFT_OUT where it does not look so far.
function check(vector, isBody) {
  const pieces = vector.build ?? [vector.hex];
  const written = pieces.map((piece) => (piece.count ? piece.repeat.repeat(piece.count) : piece));
  const data = Buffer.from(written.join(""), "hex");
  let got;
  try {
    const [last, ...envelope] = isBody ? decodeBody(data).reverse() : [data];
    got = [...envelope.reverse(), decode(last)];
  } catch (error) {
    return [vector.error, ...(vector.or ?? [])].includes(error.code) || (isBody && LEFT_OUT);
  }
  if (vector.error) return (isBody || vector.error === "value_bad_extension") && LEFT_OUT;
  try {
    const { kind, id, method, meta, payload } = vector.frame ?? {};
    const want = isBody ? [kind, id, method, meta, payload].map(meaning) : [meaning(vector.value)];
    // The second way is for a NaN, which may have any bits.
    if (!encode(got).equals(encode(want)) && !isDeepStrictEqual(got, want)) return false;
    if (vector.direction !== "both" || encode(isBody ? want : want[0]).equals(data)) return true;
    return JSON.stringify(vector).includes('.0"') && LEFT_OUT; // 1.0 is the integer 1 here
  } catch (error) {
    if (error === LEFT_OUT) return LEFT_OUT;
    throw error;
  }
}

function checkVectors(folder) {
  const results = [];
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".json")).sort()) {
    const { shape, vectors } = JSON.parse(readFileSync(join(folder, name), "utf8"));
    if (shape === "stream") continue; // how the bytes are cut is Client.#read's concern
    for (const vector of vectors) {
      for (const step of vector.steps ?? [vector]) results.push([vector.id, check(step, shape !== "value")]);
    }
  }
  const count = (result) => results.filter(([, own]) => own === result).length;
  console.log(`vectors: ${count(true)} agree, ${count(false)} differ, ${count(LEFT_OUT)} left out`);
  for (const [id] of results.filter(([, result]) => result === false)) console.log(`  differs: ${id}`);
  return count(false) > 0 || count(true) === 0 ? 1 : 0;
}

const [option, folder] = process.argv.slice(2);
if (option === undefined) await walk();
else if (option === "--vectors" && folder) process.exitCode = checkVectors(folder);
else throw new Error("usage: node client.mjs [--vectors PATH]");
